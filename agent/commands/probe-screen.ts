/** The screen of `mjf-agent probe`. Pure. Everything that came from outside is escaped. */
import { formatDuration } from '../duration.ts';
import type { ProbedFeature, ProbedMachine, ProbeReport } from '../probe/types.ts';
import { type Cell, facts, grid, paragraph, type Row } from '../terminal/grid.ts';
import { type Look, PLAIN_LOOK, painted } from '../terminal/look.ts';
import { sourceLines } from './probe-table.ts';
import { PHASE_TEXTS, PHASE_TONES } from './status-head.ts';
import { answerText } from './status-screen.ts';
import { instantAndDistance, instantText } from './times.ts';

/** Text with a line feed at the end. */
export function probeScreen(report: ProbeReport, nowMs: number, look: Look = PLAIN_LOOK): string {
  const { would } = report;
  const section = (title: string, lines: readonly string[]): readonly string[] =>
    lines.length === 0 ? [] : ['', painted(title, 'strong', look), ...lines];
  const lines = [
    ...section('Machine', facts(machineRows(report.machine), look, '  ')),
    ...section(`Sources (asked in ${formatDuration(report.took_ms)})`, sourceLines(report, look)),
    ...section('Named by the metadata', facts(Object.entries(report.pointers), look, '  ')),
    ...section('What the agent would do', facts(wouldRows(report, nowMs), look, '  ')),
    ...section('Notices', grid(noticeRows(report), look, '  ')),
    ...section('Machine features', grid(featureRows(would.machinefeatures), look, '  ')),
    ...section('Job features', grid(featureRows(would.jobfeatures), look, '  ')),
    ...section('Daemon', paragraph(daemonText(report.daemon, nowMs), look, '  ')),
    ...section(
      'Hints',
      report.hints.flatMap(({ text }) => paragraph(text, look, '  ')),
    ),
  ];
  return lines
    .slice(1)
    .map((line) => `${line}\n`)
    .join('');
}

function machineRows({ dmi, labels, cloud_id, hypervisor_uuid, fw_cfg }: ProbedMachine): (readonly [string, Cell])[] {
  const rows: (readonly [string, Cell])[] = Object.entries(dmi);
  if (rows.length === 0) rows.push(['DMI', 'nothing in /sys/class/dmi/id']);
  rows.push(['disk labels', labels.join(', ') || 'none']);
  if (cloud_id !== null) rows.push(['cloud-init', cloud_id]);
  if (hypervisor_uuid !== null) rows.push(['hypervisor uuid', hypervisor_uuid]);
  if (fw_cfg) rows.push(['fw_cfg', 'offered by the hypervisor']);
  return rows;
}

function wouldRows({ would }: ProbeReport, nowMs: number): readonly (readonly [string, Cell])[] {
  const when = (unixSecs: number | null): string =>
    unixSecs === null ? 'none foreseen' : instantAndDistance(unixSecs, nowMs);
  return [
    ['phase', { text: PHASE_TEXTS[would.phase] ?? would.phase, tone: PHASE_TONES[would.phase] }],
    ['deadline', when(would.deadline)],
    ...(would.reason === null ? [] : [['reason', would.reason] as const]),
    ...(would.drain_at === null ? [] : [['drain at', when(would.drain_at)] as const]),
    ...(would.stop_at === null ? [] : [['stop at', when(would.stop_at)] as const]),
    ['site may terminate', answerText(would.termination_allowed)],
  ];
}

const noticeRows = ({ would }: ProbeReport): readonly Row[] =>
  would.notices.map(({ id, kind, deadline, reason, expired }) => [
    id,
    kind,
    deadline === null ? 'no time' : instantText(deadline),
    `${reason}${expired ? ' (expired)' : ''}`,
  ]);

const featureRows = (features: Readonly<Record<string, ProbedFeature>>): readonly Row[] =>
  Object.entries(features)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([key, { value, source }]) => [key, value, source]);

function daemonText({ running, phase, deadline }: ProbeReport['daemon'], nowMs: number): string {
  if (!running) return 'does not run';
  return `runs: ${phase}, ${deadline === null ? 'no deadline' : `deadline ${instantAndDistance(deadline, nowMs)}`}`;
}
