/** What a schema cannot say: rules across keys, and warnings about what is legal but probably not meant. */
import { durationMs, formatDuration, isDuration } from '../duration.ts';
import { didYouMean } from '../nearest.ts';
import { checkCronPoll, isCronShaped } from '../sources/cron.ts';
import { isAbsolutePath, isHttpUrl, TEXT_FORMATS } from './formats.ts';
import { isLoopback } from './listen.ts';
import { isTable, type KeyPath, type Merged } from './merge.ts';
import { checkPayloads } from './payload-rules.ts';
import { type ConfigProblem, keyText, showValue } from './problem.ts';
import { checkReport } from './report-rules.ts';
import { checkSchedules } from './schedule-rules.ts';
import type { RawConfig } from './schema.ts';
import { checkStop } from './step-rules.ts';
import type { Config } from './types.ts';
import { checkWebhooks } from './webhook-rules.ts';

/** SEMANTICS S7: a guest must not hurt the site. */
const SHORTEST_POLL_MS = 200;
/** A program that may not even start in its time is a mistake. */
const SHORTEST_HOOK_MS = 1000;
/** Notices of these kinds set the deadline (SEMANTICS S1.1). */
const DEADLINE_KINDS = ['terminate', 'stop', 'shutdown', 'reboot', 'redeploy'];
/** Sources that have no file below `sources/`: the operator's word. */
const BUILT_IN_SOURCES = ['operator'];
/** MJF times are UNIX seconds: between 2001 and 5138. A time in milliseconds lies far above. */
const EARLIEST_UNIX_SECS = 1e9;
const LATEST_UNIX_SECS = 1e11;

export interface RuleReport {
  problem(path: KeyPath, message: string): void;
  warning(path: KeyPath, message: string): void;
}

export interface Findings {
  readonly problems: readonly ConfigProblem[];
  readonly warnings: readonly string[];
}

/** Presumes a valid shape. */
export async function checkRules(
  raw: RawConfig,
  config: Config,
  merged: Merged,
  knownSources: readonly string[],
): Promise<Findings> {
  const problems: ConfigProblem[] = [];
  const warnings: string[] = [];
  const report: RuleReport = {
    problem: (path, message) => problems.push({ origin: merged.originOf(path), key: keyText(path), message }),
    warning: (path, message) => {
      const origin = merged.originOf(path);
      warnings.push(`${origin === null ? '' : `${origin}: `}${keyText(path)}: ${message}`);
    },
  };
  checkListen(config, report);
  checkDirectories(config, report);
  await checkSources(raw, knownSources, report);
  await checkSchedules(config, report);
  checkStop(raw, config, report);
  checkNotices(config, report);
  checkPayloads(raw, config, report);
  if (config.hooks.timeoutMs < SHORTEST_HOOK_MS) {
    report.problem(['hooks', 'timeout'], `expected at least 1s, got ${formatDuration(config.hooks.timeoutMs)}`);
  }
  checkReport(config, report);
  checkWebhooks(config, report);
  return { problems, warnings };
}

function checkListen(config: Config, report: RuleReport): void {
  if (config.listen === 'off') return;
  const seen = new Set<string>();
  for (const address of config.listen) {
    const text = address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
    if (seen.has(text) && address.port !== 0) report.problem(['listen'], `${text} stands there twice`);
    seen.add(text);
    if (isLoopback(address)) continue;
    const everywhere = address.host === '0.0.0.0' || address.host === '::';
    const reach = everywhere ? 'every network of this machine can read it' : 'other machines can read it';
    report.warning(['listen'], `${text} is not a loopback address: ${reach}, and it is read-only there`);
  }
}

function checkDirectories(config: Config, report: RuleReport): void {
  const places: readonly (readonly [string, string])[] = [
    ['runtime_dir', config.runtimeDir],
    ['state_dir', config.stateDir],
    ['journal_dir', config.journalDir],
  ];
  for (const [key, directory] of places) {
    const twin = places.find(([other, path]) => other !== key && path === directory);
    if (directory === '/') report.problem([key], 'expected a directory of its own, got "/"');
    else if (twin) report.problem([key], `is the same directory as ${twin[0]}`);
  }
}

async function checkSources(raw: RawConfig, knownSources: readonly string[], report: RuleReport): Promise<void> {
  const listed = raw.sources === undefined || raw.sources === 'auto' ? [] : raw.sources;
  listed.forEach((name, i) => {
    if (knownSources.includes(name) || BUILT_IN_SOURCES.includes(name)) return;
    report.problem(['sources', i], `unknown source ${showValue(name)}${didYouMean(name, knownSources)}`);
  });
  for (const [name, table] of Object.entries(raw.source ?? {})) {
    if (isTable(table)) await checkSourceTable(name, table, report);
    // The rules of `schedule` say so themselves.
    if (listed.length > 0 && !listed.includes(name) && isTable(table))
      report.warning(['source', name], `has no effect: "${name}" is not in the list of sources`);
  }
}

/** What holds for the tables of all sources, whatever else is in them. */
async function checkSourceTable(
  name: string,
  table: Readonly<Record<string, unknown>>,
  report: RuleReport,
): Promise<void> {
  for (const key of ['poll', 'slow_poll']) {
    const poll = table[key];
    if (typeof poll !== 'string') continue;
    const problem = await pollProblem(poll);
    if (problem !== undefined) report.problem(['source', name, key], problem);
  }
  for (const key of ['base_url', 'machinefeatures', 'jobfeatures', 'ca', 'cert', 'key']) {
    const value = table[key];
    if (typeof value !== 'string') continue;
    const isUrl = key === 'base_url' || (name === 'mjf' && key.endsWith('features'));
    if (isUrl ? isHttpUrl(value) : isAbsolutePath(value)) continue;
    const { expected } = TEXT_FORMATS[isUrl ? 'http-url' : 'absolute-path'];
    report.problem(['source', name, key], `expected ${expected}, got ${showValue(value)}`);
  }
  if (name === 'static') checkStaticTimes(table, report);
}

/** Loads node-cron only for an expression: by one that is no good a source would be asked once an hour. */
async function pollProblem(poll: string): Promise<string | undefined> {
  if (poll === 'once') return undefined;
  if (isDuration(poll))
    return durationMs(poll) < SHORTEST_POLL_MS
      ? `expected at least ${SHORTEST_POLL_MS}ms, got ${showValue(poll)}`
      : undefined;
  if (!isCronShaped(poll)) return `expected ${TEXT_FORMATS.duration.expected}, got ${showValue(poll)}`;
  try {
    await checkCronPoll(poll.trim());
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function checkStaticTimes(table: Readonly<Record<string, unknown>>, report: RuleReport): void {
  const times = [
    ['machinefeatures', 'shutdowntime'],
    ['jobfeatures', 'shutdowntime_job'],
    ['jobfeatures', 'jobstart_secs'],
  ] as const;
  for (const [side, key] of times) {
    const features = table[side];
    const value = isTable(features) ? features[key] : undefined;
    if (value === undefined) continue;
    const secs = Number(value);
    if (Number.isInteger(secs) && secs >= EARLIEST_UNIX_SECS && secs < LATEST_UNIX_SECS) continue;
    const hint = secs >= LATEST_UNIX_SECS ? ' (are these milliseconds?)' : '';
    const message = `expected a time in whole UNIX seconds such as 1766440000, got ${showValue(value)}${hint}`;
    report.problem(['source', 'static', side, key], message);
  }
}

function checkNotices(config: Config, report: RuleReport): void {
  for (const [kind, counted] of Object.entries(config.notice)) {
    if (!DEADLINE_KINDS.includes(kind) || counted === undefined || DEADLINE_KINDS.includes(counted)) continue;
    // SEMANTICS S1.5: configuration may only shorten; a host's deadline is overridden by an operator, case by case.
    const message = `${kind} sets a deadline and cannot be turned into ${counted}; see "mjf-agent notice --ignore"`;
    report.problem(['notice', kind], message);
  }
}
