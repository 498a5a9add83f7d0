/** The plain screen of `mjf-agent status`. Pure. */
import { escapeLine } from '../escape.ts';
import type { FeatureRow, LifetimeDocument, SourceRow } from './lifetime-document.ts';
import { instantAndDistance, instantText } from './times.ts';

export const PHASE_TEXTS: Readonly<Record<string, string>> = {
  running: 'running',
  draining: 'draining: take no new work',
  stopping: 'stopping: payloads are being stopped',
  stopped: 'stopped: nothing is left to do',
};

/** Text for a terminal of at least 80 columns, line feed at the end. Everything that came from outside is escaped. */
export function statusScreen(lifetime: LifetimeDocument, nowMs: number): string {
  const when = (unixSecs: number) => instantAndDistance(unixSecs, nowMs);
  const facts: (readonly [string, string])[] = [
    ['phase', PHASE_TEXTS[lifetime.phase] ?? lifetime.phase],
    ['deadline', lifetime.deadline === null ? 'none foreseen' : when(lifetime.deadline)],
  ];
  if (lifetime.overdue) facts.push(['', 'overdue: the machine outlived its deadline']);
  if (lifetime.reason !== null) facts.push(['reason', lifetime.reason]);
  if (lifetime.drainAt !== null) facts.push(['drain at', when(lifetime.drainAt)]);
  if (lifetime.stopAt !== null) facts.push(['stop at', when(lifetime.stopAt)]);
  if (lifetime.graceSecs !== null) facts.push(['host promises', `${lifetime.graceSecs} s of notice`]);
  facts.push(['site may terminate', answerText(lifetime.terminationAllowed)]);
  facts.push(['can terminate', canTerminateText(lifetime, when)]);
  if (typeof lifetime.canTerminate?.progress === 'number')
    facts.push(['progress', `${Math.round(lifetime.canTerminate.progress * 100)} %`]);
  const counts = Object.entries(lifetime.payloads).map(([state, count]) => `${count} ${state}`);
  facts.push(['payloads', counts.join(', ') || 'none']);

  const notices = lifetime.notices.map(({ id, kind, deadline, reason, marks }) => [
    id,
    kind,
    deadline === null ? 'no time' : instantText(deadline),
    [reason, ...marks.map((mark) => `(${mark})`)].join(' '),
  ]);
  const sources = lifetime.sources.map((source) => [
    source.name,
    source.state,
    [source.since === null ? '' : `since ${instantText(source.since)}`, ...troubles(source)].join(' '),
  ]);
  return [
    columns(facts),
    section('Notices', notices),
    section('Machine features', featureRows(lifetime.machinefeatures)),
    section('Job features', featureRows(lifetime.jobfeatures)),
    section('Sources', sources),
  ].join('');
}

/** Faults that are named; more are counted. */
const FAULTS_SHOWN = 3;

function troubles({ error, clockOffsetSecs, faults }: SourceRow): readonly string[] {
  const wrong = Object.entries(faults).map(([key, code]) => `${key.replace(/^notice\/@?/, '')}: ${code}`);
  const more = wrong.length - FAULTS_SHOWN;
  return [
    ...(error === null ? [] : [`(${error})`]),
    ...(wrong.length === 0
      ? []
      : [`(${wrong.slice(0, FAULTS_SHOWN).join(', ')}${more > 0 ? ` and ${more} more` : ''})`]),
    ...(clockOffsetSecs === null
      ? []
      : [`(its clock is ${Math.abs(clockOffsetSecs)} s ${clockOffsetSecs > 0 ? 'ahead' : 'behind'}: planned on it)`]),
  ];
}

export function answerText(answer: boolean | null): string {
  return answer === null ? 'unknown' : answer ? 'at any time' : 'no';
}

function canTerminateText({ canTerminate }: LifetimeDocument, when: (unixSecs: number) => string): string {
  if (canTerminate === null) return 'unknown: no payload has said';
  if (canTerminate.now) return 'now';
  const { at, mustNotUntil } = canTerminate;
  if (at !== null && (mustNotUntil === null || mustNotUntil < at)) return `from ${when(at)}`;
  if (mustNotUntil !== null) return `not before ${when(mustNotUntil)}; work is lost until then`;
  return 'not now, nobody has said how long';
}

function featureRows(features: Readonly<Record<string, FeatureRow>>): readonly (readonly string[])[] {
  return Object.entries(features)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([key, { value, source, stale }]) => [key, value, `${source}${stale ? ' (stale)' : ''}`]);
}

export function section(title: string, rows: readonly (readonly string[])[]): string {
  return rows.length === 0 ? '' : `\n${title}\n${columns(rows, '  ')}`;
}

/** Longest cell that is aligned; a longer one only pushes its own row. */
const WIDEST_CELL = 40;

export function columns(rows: readonly (readonly string[])[], indent = ''): string {
  const safe = rows.map((row) => row.map(escapeLine));
  const widthOf = (column: number) => Math.max(...safe.map((row) => Math.min(row[column]?.length ?? 0, WIDEST_CELL)));
  return safe
    .map((row) => `${indent}${row.map((cell, i) => cell.padEnd(widthOf(i))).join('  ')}`.trimEnd())
    .map((line) => `${line}\n`)
    .join('');
}
