/** Where job outputs go: by configuration, by `$JOBOUTPUTS`, or by the metadata of the platform. */
import type { Logger } from 'pino';
import type { JobOutputsConfig } from '../config/types.ts';
import { isOwnEndpoint, type OwnAddress } from '../own-endpoint.ts';
import { deliverTo } from './deliver.ts';
import type { Deliver } from './outbox.ts';

export interface ChannelOptions {
  readonly config: JobOutputsConfig | null;
  readonly self: { readonly command: string; readonly args: readonly string[] };
  readonly ownAddresses: readonly OwnAddress[];
  readonly log: Logger;
}

export interface Channel {
  /** For people, and to know it again: without what may be secret. */
  readonly to: string;
  readonly deliver: Deliver;
  /** Files can be taken away again. */
  readonly isDirectory: boolean;
}

/**
 * null: there is none, or it is turned off. `named`: by `$JOBOUTPUTS`, or by the metadata of the platform (`byMetadata`), which
 * no operator of this machine has written.
 */
export function channelOf(options: ChannelOptions, named: string | undefined, byMetadata = false): Channel | null {
  const { config, self, ownAddresses, log } = options;
  if (config?.enabled === false) return null;
  const url =
    config?.url ?? (config?.directory == null && named !== undefined && /^https?:\/\//.test(named) ? named : null);
  if (url !== null && !URL.canParse(url)) {
    log.warn({ event: 'report_channel_bad' }, 'joboutputs is not a URL: nothing is reported');
    return null;
  }
  // `$JOBOUTPUTS` as the agent itself exports it: a report sent there would come back to us for ever.
  if (url !== null && isOwnEndpoint(url, ownAddresses)) return null;
  const directory = config?.directory ?? (url === null && named?.startsWith('/') ? named : null);
  // Without user, password or query, which may be secrets.
  const to = url === null ? directory : new URL(url).origin + new URL(url).pathname;
  if (to === null) return null;
  log.info({ event: 'report_channel', to }, `reports go to ${to}`);
  const pems = { ca: config?.caFile ?? null, cert: config?.certFile ?? null, key: config?.keyFile ?? null };
  return {
    to,
    deliver: deliverTo({ url, directory, ...pems, noLinks: byMetadata && config?.directory == null }, self),
    isDirectory: url === null,
  };
}
