/** `[report]` as written → as the program uses it. */
import { durationMs } from '../duration.ts';
import type { FinalWord } from '../lifetime/types.ts';
import { withoutTrailingSlash } from './formats.ts';
import type { RawConfig } from './schema.ts';
import { report } from './schema-report.ts';
import type { JobOutputsConfig, ReportConfig } from './types.ts';

type RawReport = NonNullable<RawConfig['report']>;

const defaults = report.properties;

/** Presumes a valid shape. */
export function toReport(raw: RawReport): ReportConfig {
  const isEnabled = (name: 'directory' | 'onegate' | 'gce' | 'vmware' | 'azure'): boolean =>
    raw[name]?.enabled ?? defaults[name].properties.enabled.default;
  return {
    joboutputs: raw.joboutputs === undefined ? null : toJobOutputs(raw.joboutputs),
    directory: {
      enabled: isEnabled('directory'),
      path: withoutTrailingSlash(raw.directory?.path ?? defaults.directory.properties.path.default),
    },
    onegate: { enabled: isEnabled('onegate') },
    gce: { enabled: isEnabled('gce') },
    vmware: { enabled: isEnabled('vmware') },
    azure: {
      enabled: isEnabled('azure'),
      ackShared: raw.azure?.ack_shared ?? defaults.azure.properties.ack_shared.default,
    },
    codes: Object.fromEntries(Object.entries(raw.codes ?? {}).map(([exit, text]) => [exit, toWord(text)])),
  };
}

/** `300 no more work`, and just `300`. */
const toWord = (text: string): FinalWord => ({ code: Number(text.slice(0, 3)), text: text.slice(3).trim() });

function toJobOutputs(raw: NonNullable<RawReport['joboutputs']>): JobOutputsConfig {
  return {
    enabled: raw.enabled ?? defaults.joboutputs.properties.enabled.default,
    url: raw.url === undefined ? null : withoutTrailingSlash(raw.url),
    directory: raw.directory === undefined ? null : withoutTrailingSlash(raw.directory),
    caFile: raw.ca ?? null,
    certFile: raw.cert ?? null,
    keyFile: raw.key ?? null,
    heartbeatFile: raw.heartbeat_file ?? null,
    heartbeatMs: durationMs(raw.heartbeat ?? defaults.joboutputs.properties.heartbeat.default),
  };
}
