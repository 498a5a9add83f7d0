/** What a schema cannot say of `[report]`. */
import { formatDuration } from '../duration.ts';
import { didYouMean } from '../nearest.ts';
import type { KeyPath } from './merge.ts';
import type { RuleReport } from './rules.ts';
import type { Config } from './types.ts';
import { checkClientCertificate } from './webhook-rules.ts';

/** A site destroys the machine after missed heartbeats; more often than this only loads it. */
const SHORTEST_HEARTBEAT_MS = 1000;
/** Beside the numbers, how a payload may end. */
const OTHER_ENDS = ['signal', 'other'];
const LARGEST_EXIT_CODE = 255;

/** Presumes a valid shape. */
export function checkReport(config: Config, report: RuleReport): void {
  checkJobOutputs(config, report);
  const { directory, joboutputs } = config.report;
  checkNotOwn(directory.path, ['report', 'directory', 'path'], config, report);
  checkNotOwn(joboutputs?.directory ?? null, ['report', 'joboutputs', 'directory'], config, report);
  for (const exit of Object.keys(config.report.codes)) {
    const isCode = /^(0|[1-9]\d{0,2})$/.test(exit) && Number(exit) <= LARGEST_EXIT_CODE;
    if (isCode || OTHER_ENDS.includes(exit)) continue;
    const hint = didYouMean(exit, OTHER_ENDS) || '; expected an exit code from 0 to 255, signal or other';
    report.problem(['report', 'codes', exit], `unknown key${hint}`);
  }
}

/** There whatever is not the agent's own output is swept away as soon as it comes, and written anew, for ever. */
function checkNotOwn(dir: string | null, at: KeyPath, { runtimeDir }: Config, report: RuleReport): void {
  if (dir === null || !`${dir}/`.startsWith(`${runtimeDir}/`)) return;
  report.problem(at, `lies in runtime_dir (${runtimeDir}), which only the agent's own output may use`);
}

function checkJobOutputs(config: Config, report: RuleReport): void {
  const { joboutputs } = config.report;
  if (joboutputs === null) return;
  const at = (key: string): KeyPath => ['report', 'joboutputs', key];
  if (joboutputs.url !== null && joboutputs.directory !== null) {
    report.problem(at('directory'), 'url and directory exclude each other: keep one');
  }
  checkClientCertificate(joboutputs, at, report);
  if (joboutputs.heartbeatMs < SHORTEST_HEARTBEAT_MS) {
    report.problem(at('heartbeat'), `expected at least 1s, got ${formatDuration(joboutputs.heartbeatMs)}`);
  }
}
