/** Stand-in of whoever wants to hear of a machine's end: takes each event by POST, once, and shows what it was told. */
import fs from 'node:fs';
import { parseArgs } from 'node:util';
import type { RunningStandIn, StandIn } from './by-hand.ts';
import {
  type AskedRequest,
  type HostAnswer,
  type MetadataHost,
  type MetadataHostOptions,
  startMetadataHost,
} from './metadata-host.ts';

export interface WebhookEvent {
  readonly event: string;
  readonly id: string;
  /** The whole document: `event` and the Snapshot's fields. */
  readonly body: Readonly<Record<string, unknown>>;
}

export interface WebhookReceiver extends MetadataHost {
  /** What was taken, in order, without doubles. */
  readonly events: readonly WebhookEvent[];
  /** How many came again under an id that was taken before. */
  doubles(): number;
  /** Only who says so in `Authorization` is heard from now on, all others get 401; undefined: everybody. */
  demand(authorization: string | undefined): void;
  /** Fulfilled when so many events in all have been taken. */
  taken(count: number): Promise<void>;
}

export interface WebhookReceiverOptions extends MetadataHostOptions {
  readonly onEvent?: (event: WebhookEvent) => void;
}

/** Answers 204 to what it takes; 400 to what is no event, 405 to all but POST; with `tls.ca` 403 without a certificate. */
export async function startWebhookReceiver(options: WebhookReceiverOptions = {}): Promise<WebhookReceiver> {
  const events: WebhookEvent[] = [];
  const ids = new Set<string>();
  let waiting: { readonly count: number; readonly done: () => void }[] = [];
  let demanded: string | undefined;
  let doubles = 0;

  function answer(request: AskedRequest): HostAnswer {
    const { method, headers } = request;
    if (method !== 'POST') return { status: 405, headers: { allow: 'POST' }, body: 'POST only\n' };
    if (options.tls?.ca !== undefined && !request.certified) return { status: 403, body: 'who are you?\n' };
    if (demanded !== undefined && headers.authorization !== demanded)
      return { status: 401, headers: { 'www-authenticate': 'Bearer' }, body: 'who are you?\n' };
    const event = eventOf(request);
    if (event === null) return { status: 400, body: 'that is no event\n' };
    if (ids.has(event.id)) doubles += 1;
    else {
      ids.add(event.id);
      events.push(event);
      options.onEvent?.(event);
      for (const each of waiting) if (events.length >= each.count) each.done();
      waiting = waiting.filter(({ count }) => events.length < count);
    }
    return { status: 204 };
  }

  const host = await startMetadataHost(options, answer);
  return {
    ...host,
    events,
    doubles: () => doubles,
    demand(authorization) {
      demanded = authorization;
    },
    taken: (count) =>
      events.length >= count ? Promise.resolve() : new Promise((done) => waiting.push({ count, done: () => done() })),
  };
}

function eventOf({ headers, body }: AskedRequest): WebhookEvent | null {
  const { 'mjf-event': event, 'mjf-event-id': id } = headers;
  if (typeof event !== 'string' || typeof id !== 'string' || headers['content-type'] !== 'application/json')
    return null;
  try {
    const document: unknown = JSON.parse(body);
    return document !== null && typeof document === 'object'
      ? { event, id, body: document as WebhookEvent['body'] }
      : null;
  } catch {
    return null;
  }
}

export const standIn: StandIn = {
  help: `  [--tls-cert FILE --tls-key FILE [--tls-ca FILE]] [--authorization TEXT]
  Prints each event that it is told, as one line of JSON.
  on stdin: authorization TEXT|off
`,
  async start(args): Promise<RunningStandIn> {
    const { values } = parseArgs({
      args: [...args],
      options: {
        port: { type: 'string' },
        address: { type: 'string' },
        authorization: { type: 'string' },
        'tls-cert': { type: 'string' },
        'tls-key': { type: 'string' },
        'tls-ca': { type: 'string' },
      },
    });
    const { 'tls-cert': cert, 'tls-key': key, 'tls-ca': ca } = values;
    const read = (file: string): string => fs.readFileSync(file, 'utf8');
    const host = await startWebhookReceiver({
      port: Number(values.port ?? 0),
      address: values.address ?? '127.0.0.1',
      ...(cert && key && { tls: { cert: read(cert), key: read(key), ...(ca && { ca: read(ca) }) } }),
      onEvent: ({ body }) => void process.stdout.write(`${JSON.stringify(body)}\n`),
    });
    host.demand(values.authorization);
    return {
      greeting: `${host.url}/\n[[webhook]]\nurl = "${host.url}/"`,
      host,
      obey(verb, words) {
        if (verb !== 'authorization' || words.length === 0) return false;
        host.demand(words[0] === 'off' ? undefined : words.join(' '));
        return true;
      },
    };
  },
};
