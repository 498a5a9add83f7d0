/** What a schema cannot say of the site's servers that the agent sends to. */
import type { KeyPath } from './merge.ts';
import type { RuleReport } from './rules.ts';
import type { Config } from './types.ts';

interface Server {
  readonly url: string | null;
  readonly caFile: string | null;
  readonly certFile: string | null;
  readonly keyFile: string | null;
}

/** Presumes a valid shape. */
export function checkWebhooks({ webhooks }: Config, report: RuleReport): void {
  webhooks.forEach((webhook, i) => {
    const at = (key: string): KeyPath => ['webhook', i, key];
    checkClientCertificate(webhook, at, report);
    if (webhook.authorizationFile !== null && !webhook.url.startsWith('https:')) {
      report.warning(at('url'), 'is http: the content of authorization_file goes over the network unprotected');
    }
    const twin = webhooks.slice(0, i).find(({ url }) => url === webhook.url);
    if (twin?.events.some((event) => webhook.events.includes(event))) {
      report.warning(at('url'), 'stands there twice with the same events: each is sent twice');
    }
  });
}

/** The keys of a TLS client, wherever they stand. */
export function checkClientCertificate(server: Server, at: (key: string) => KeyPath, report: RuleReport): void {
  if ((server.certFile === null) !== (server.keyFile === null)) {
    const missing = server.certFile === null ? 'cert' : 'key';
    report.problem(at(missing), 'is missing: a client certificate needs both cert and key');
  }
  const isTls = server.url?.startsWith('https:') ?? true;
  if (!isTls && (server.caFile !== null || server.certFile !== null)) {
    report.warning(at('url'), 'is http: ca, cert and key have no effect');
  }
}
