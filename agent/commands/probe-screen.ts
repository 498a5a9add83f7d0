/** The plain screen of `mjf-agent probe`. Pure. Everything that came from outside is escaped. */
import { formatDuration } from '../duration.ts';
import { escapeLine } from '../escape.ts';
import type { ProbedFeature, ProbedMachine, ProbedQuestion, ProbedSource, ProbeReport } from '../probe/types.ts';
import { answerText, columns, PHASE_TEXTS, section } from './status-screen.ts';
import { instantAndDistance, instantText } from './times.ts';

/** Hints are sentences; lines with addresses in them may be longer. */
const WIDTH = 80;
/** More questions than this are shown by what they have in common; `--json` has them all. */
const MOST_QUESTIONS = 12;

/** Text for a terminal, line feed at the end. */
export function probeScreen(report: ProbeReport, nowMs: number): string {
  const { would } = report;
  return [
    `Machine\n${columns(machineRows(report.machine), '  ')}`,
    `\nSources (asked in ${formatDuration(report.took_ms)})\n`,
    ...report.sources.filter(({ used }) => used).map(sourceText),
    unusedText(report.sources),
    section('Named by the metadata', Object.entries(report.pointers)),
    section('What the agent would do', wouldRows(report, nowMs)),
    section(
      'Notices',
      would.notices.map(({ id, kind, deadline, reason, expired }) => [
        id,
        kind,
        deadline === null ? 'no time' : instantText(deadline),
        `${reason}${expired ? ' (expired)' : ''}`,
      ]),
    ),
    section('Machine features', featureRows(would.machinefeatures)),
    section('Job features', featureRows(would.jobfeatures)),
    section('Daemon', [[daemonText(report.daemon, nowMs)]]),
    report.hints.length === 0 ? '' : '\nHints\n',
    ...report.hints.map(({ text }) => wrapped(escapeLine(text))),
  ].join('');
}

function machineRows({ dmi, labels, cloud_id, hypervisor_uuid, fw_cfg }: ProbedMachine): (readonly string[])[] {
  const rows: (readonly string[])[] = Object.entries(dmi);
  if (rows.length === 0) rows.push(['DMI', 'nothing in /sys/class/dmi/id']);
  rows.push(['disk labels', labels.join(', ') || 'none']);
  if (cloud_id !== null) rows.push(['cloud-init', cloud_id]);
  if (hypervisor_uuid !== null) rows.push(['hypervisor uuid', hypervisor_uuid]);
  if (fw_cfg) rows.push(['fw_cfg', 'offered by the hypervisor']);
  return rows;
}

function sourceText(source: ProbedSource): string {
  const { name, why, sign, outcome, error, detail } = source;
  const answer = { answer: 'answered', no_channel: 'not there', failed: `failed: ${error}` }[outcome ?? 'failed'];
  const took = source.took_ms === null ? '' : ` (${source.took_ms} ms)`;
  const lines = [
    ...questionLines(source.asked),
    ...Object.entries(source.faults).map(([key, code]) => `no good value of ${key} (${code})`),
  ];
  return [
    wrapped(escapeLine(`${name}: ${answer}${took}; ${WHY_TEXTS[why] ?? why}${sign === null ? '' : `: ${sign}`}`)),
    ...(detail === null ? [] : [wrapped(escapeLine(detail), '    ')]),
    ...lines.map((line) => `    ${escapeLine(line)}\n`),
  ].join('');
}

const WHY_TEXTS: Readonly<Record<string, string>> = {
  always: 'looked at on every machine',
  environment: 'named by $MACHINEFEATURES or $JOBFEATURES',
  metadata: 'named by the metadata',
};

function questionLines(asked: readonly ProbedQuestion[]): readonly string[] {
  if (asked.length <= MOST_QUESTIONS)
    return asked.map(({ what, answered, took_ms }) => questionLine(answered, took_ms, what));
  const groups = new Map<string, { readonly first: ProbedQuestion; count: number; slowestMs: number }>();
  for (const question of asked) {
    const common = `${question.what.replace(/[^/]*$/, '')} ${question.answered}`;
    const group = groups.get(common) ?? { first: question, count: 0, slowestMs: 0 };
    groups.set(common, group);
    group.count += 1;
    group.slowestMs = Math.max(group.slowestMs, question.took_ms);
  }
  return [...groups.values()].map(({ first, count, slowestMs }) =>
    count === 1
      ? questionLine(first.answered, first.took_ms, first.what)
      : questionLine(
          first.answered,
          slowestMs,
          `${first.what.replace(/[^/]*$/, '')}… (${count} times, this the slowest)`,
        ),
  );
}

const questionLine = (answered: string, tookMs: number, what: string): string =>
  `${answered.padEnd(8)} ${`${tookMs} ms`.padStart(9)}  ${what}`;

function unusedText(sources: readonly ProbedSource[]): string {
  const unused = sources.filter(({ used }) => !used);
  return [...new Set(unused.map(({ why }) => why))]
    .map((why) => `${why}: ${unused.flatMap((each) => (each.why === why ? [each.name] : [])).join(', ')}`)
    .map((line) => wrapped(line))
    .join('');
}

function wouldRows({ would }: ProbeReport, nowMs: number): readonly (readonly string[])[] {
  const when = (unixSecs: number | null): string =>
    unixSecs === null ? 'none foreseen' : instantAndDistance(unixSecs, nowMs);
  return [
    ['phase', PHASE_TEXTS[would.phase] ?? would.phase],
    ['deadline', when(would.deadline)],
    ...(would.reason === null ? [] : [['reason', would.reason]]),
    ...(would.drain_at === null ? [] : [['drain at', when(would.drain_at)]]),
    ...(would.stop_at === null ? [] : [['stop at', when(would.stop_at)]]),
    ['site may terminate', answerText(would.termination_allowed)],
  ];
}

const featureRows = (features: Readonly<Record<string, ProbedFeature>>): readonly (readonly string[])[] =>
  Object.entries(features)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([key, { value, source }]) => [key, value, source]);

function daemonText({ running, phase, deadline }: ProbeReport['daemon'], nowMs: number): string {
  if (!running) return 'does not run';
  return `runs: ${phase}, ${deadline === null ? 'no deadline' : `deadline ${instantAndDistance(deadline, nowMs)}`}`;
}

/** One paragraph, its first line indented so far and the others by two more; a word longer than a line stands alone. */
function wrapped(text: string, indent = '  '): string {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= WIDTH) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(`${indent}${last === undefined ? '' : '  '}${word}`);
  }
  return lines.map((line) => `${line}\n`).join('');
}
