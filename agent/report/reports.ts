/** All ways from the machine to its site: the list of reporters, told one after the other, of which none stops another. */
import path from 'node:path';
import { report as schema } from '../config/schema-report.ts';
import type { Config } from '../config/types.ts';
import type { Instant } from '../lifetime/types.ts';
import type { MachineIdentity } from '../machine-identity.ts';
import type { OwnAddress } from '../own-endpoint.ts';
import { openAzure } from './azure.ts';
import { openDirectory } from './directory.ts';
import { openGuestAttributes } from './gce.ts';
import { type JobOutputs, openJobOutputs } from './joboutputs.ts';
import { openOneGate } from './onegate.ts';
import type { Reporter, ReporterEnvironment, SiteNews } from './reporter.ts';
import { openGuestInfo } from './vmware.ts';

export interface Reports {
  /** After each step of the heart. */
  update(news: SiteNews): void;
  /** A payload's file (`PUT /joboutputs/NAME`). */
  jobOutput(name: string, body: Buffer, uid: number): ReturnType<JobOutputs['put']>;
  /** The place of job outputs by a platform's metadata. */
  pointTo(place: string | undefined): void;
  owesLastWord(): boolean;
  /** What has not been delivered, for metrics. */
  pending(): readonly { readonly reporter: string; readonly count: number }[];
  close(): Promise<void>;
}

export interface ReportsOptions extends ReporterEnvironment {
  readonly config: Pick<Config, 'report'>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly self: { readonly command: string; readonly args: readonly string[] };
  readonly ownAddresses: readonly OwnAddress[];
  readonly stateDir: string;
  /** Whose files these are: what a cloned image brings along is not sent (S4.1). */
  readonly identity: Pick<MachineIdentity, 'machineId' | 'bootId'>;
  readonly now: () => Instant;
}

/** A platform that is told to begin takes the machine away: so long it waits for the last word to go out first. */
export const ACK_HOLD_MS = 10_000;
/** Nobody says when the word has gone out. */
const ACK_LOOK_MS = 250;

export function openReports(options: ReportsOptions): Reports {
  const { config, env, self, ownAddresses, stateDir, identity, now, ...environment } = options;
  const { log, count } = environment;
  const { directory, onegate, gce, vmware, azure, joboutputs } = config.report;
  const outputs = openJobOutputs({
    config: joboutputs,
    env,
    self,
    ownAddresses,
    log,
    count,
    spoolDir: path.join(stateDir, 'outbox'),
    identity,
  });
  const isDefault = directory.path === schema.properties.directory.properties.path.default;
  // Who tells a platform to begin comes last: by then the others know of the last word, and owe it.
  const list: readonly (readonly [enabled: boolean, open: () => Reporter])[] = [
    [true, () => outputs],
    [directory.enabled, () => openDirectory({ path: directory.path, optional: isDefault, self, log, count })],
    [onegate.enabled, () => openOneGate(environment)],
    [gce.enabled, () => openGuestAttributes(environment)],
    [vmware.enabled, () => openGuestInfo(environment)],
    [azure.enabled, () => openAzure({ ...environment, ackShared: azure.ackShared })],
  ];
  const reporters = list.flatMap(([enabled, open]) => (enabled ? [open()] : []));
  return joinReporters(reporters, outputs, { log, now });
}

/** `outputs` is one of the reporters and takes payloads' files besides. */
export function joinReporters(
  reporters: readonly Reporter[],
  outputs: Pick<JobOutputs, 'put' | 'pointTo'>,
  { log, now }: Pick<ReportsOptions, 'log' | 'now'>,
): Reports {
  /** Since when a platform may be told to begin. */
  let releasedMono: number | null = null;
  let look: NodeJS.Timeout | undefined;
  let closed = false;

  const owesLastWord = (): boolean => reporters.some((reporter) => reporter.owesLastWord());

  function update(news: SiteNews): void {
    if (closed) return;
    releasedMono = news.released.length === 0 ? null : (releasedMono ?? now().mono);
    for (const reporter of reporters) {
      try {
        reporter.update(isHeld() ? { ...news, released: [] } : news);
      } catch (error) {
        log.error({ event: 'internal', reporter: reporter.name, err: error }, `${reporter.name}: a fault in the agent`);
      }
    }
    clearTimeout(look);
    if (isHeld()) look = setTimeout(() => update(news), ACK_LOOK_MS).unref();
  }

  const isHeld = (): boolean => releasedMono !== null && now().mono - releasedMono < ACK_HOLD_MS && owesLastWord();

  return {
    update,
    jobOutput: (name, body, uid) => outputs.put(name, body, uid),
    pointTo: outputs.pointTo,
    owesLastWord,
    pending: () => reporters.map((reporter) => ({ reporter: reporter.name, count: reporter.pending() })),
    async close() {
      closed = true;
      clearTimeout(look);
      await Promise.allSettled(reporters.map((reporter) => reporter.close()));
    },
  };
}
