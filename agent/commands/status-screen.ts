/** The screen of `mjf-agent status`. Pure. What matters first stands first; everything that came from outside is escaped. */
import { formatDuration } from '../duration.ts';
import { type Cell, facts, grid, paragraph, type Row } from '../terminal/grid.ts';
import { type Look, PLAIN_LOOK, painted, type Tone } from '../terminal/look.ts';
import type { FeatureRow, LifetimeDocument, NoticeRow, SourceRow } from './lifetime-document.ts';
import type { PayloadRow } from './own-payloads.ts';
import { statusHead } from './status-head.ts';
import { distanceText, instantAndDistance } from './times.ts';

/**
 * Rows of a list that a terminal shows, so that the screen stays one that a person reads; a pipe gets all of them. The keys of
 * the specifications are some thirty, sources fifteen; the others are as many as fit beside them.
 */
const MOST_ROWS = { notices: 10, payloads: 10, features: 40, sources: 20 } as const;
/** From here on there is room for an instant and its distance in a table. */
const ROOMY_COLUMNS = 100;

/** Text with a line feed at the end. `payloads`: the rows of who asks. */
export function statusScreen(
  lifetime: LifetimeDocument,
  payloads: readonly PayloadRow[],
  nowMs: number,
  look: Look = PLAIN_LOOK,
): string {
  const lines = [...statusHead(lifetime, nowMs, look), ...statusSections(lifetime, payloads, nowMs, look)];
  return lines.map((line) => `${line}\n`).join('');
}

/** Lines without line feeds; each section begins with an empty one. */
export function statusSections(
  lifetime: LifetimeDocument,
  payloads: readonly PayloadRow[],
  nowMs: number,
  look: Look,
): readonly string[] {
  const { notices, machinefeatures, jobfeatures, sources } = lifetime;
  const list = (title: string, rows: readonly Row[], most: number) => listLines(title, rows, most, look);
  return [
    ...list(
      noticeTitle(notices),
      notices.map((notice) => noticeRow(notice, nowMs, look)),
      MOST_ROWS.notices,
    ),
    ...list(payloadTitle(lifetime, payloads), payloadRows(payloads, nowMs), MOST_ROWS.payloads),
    ...titled('Answer to the site', facts(answerFacts(lifetime, nowMs), look, '  '), look),
    ...list(
      'Sources',
      sources.map((source) => sourceRow(source, nowMs)),
      MOST_ROWS.sources,
    ),
    // The longest, and what a program rather asks for: last.
    ...list(featureTitle('Machine features', machinefeatures), featureRows(machinefeatures, nowMs), MOST_ROWS.features),
    ...list(featureTitle('Job features', jobfeatures), featureRows(jobfeatures, nowMs), MOST_ROWS.features),
  ];
}

function listLines(title: string, rows: readonly Row[], most: number, look: Look): readonly string[] {
  const isCut = look.columns !== null && rows.length > most;
  const lines = grid(isCut ? rows.slice(0, most) : rows, look, '  ');
  const more = isCut
    ? paragraph(`and ${rows.length - most} more ("mjf-agent status | less" shows all)`, look, '  ')
    : [];
  // A title that says a number is worth its line without rows too.
  return rows.length === 0 && !title.includes(':') ? [] : titled(title, [...lines, ...more], look);
}

const titled = (title: string, lines: readonly string[], look: Look): readonly string[] => [
  '',
  ...paragraph(title, look).map((line) => painted(line, 'strong', look)),
  ...lines,
];

function noticeRow({ id, kind, deadline, reason, marks }: NoticeRow, nowMs: number, look: Look): Row {
  const isRoomy = look.columns === null || look.columns >= ROOMY_COLUMNS;
  const when = isRoomy ? instantAndDistance : distanceText;
  const tone = marks.length > 0 ? 'quiet' : undefined;
  // The mark first: what is long is cut at its end.
  const said = [...marks.map((mark) => `(${mark})`), reason].filter((each) => each !== '').join(' ');
  return [id, kind, deadline === null ? 'no time' : when(deadline, nowMs), { text: said, tone }];
}

/** With what is particular about some of them, which a narrow terminal has no room to say beside each. */
function noticeTitle(notices: readonly NoticeRow[]): string {
  const marks = notices.flatMap((notice) => notice.marks);
  const counts = [...new Set(marks)].map((mark) => `${marks.filter((each) => each === mark).length} ${mark}`);
  return counts.length === 0 ? 'Notices' : `Notices (${counts.join(', ')})`;
}

function payloadTitle({ payloads }: LifetimeDocument, own: readonly PayloadRow[]): string {
  const counts = Object.entries(payloads).map(([state, count]) => `${count} ${state}`);
  const total = Object.values(payloads).reduce((sum, count) => sum + count, 0);
  const yours = own.length > 0 && own.length < total ? ` (${own.length} of them yours)` : '';
  return `Payloads: ${counts.join(', ') || 'none'}${yours}`;
}

const STATES = ['stopping', 'running', 'stopped'];
const STATE_TONES: Readonly<Record<string, Tone>> = { stopping: 'bad', running: 'good', stopped: 'quiet' };

/** Those that are being stopped first: where not all are shown, these must be. */
function payloadRows(payloads: readonly PayloadRow[], nowMs: number): readonly Row[] {
  return payloads
    .toSorted((one, other) => STATES.indexOf(one.state) - STATES.indexOf(other.state))
    .map(({ id, name, state, stopAt, progress, ...said }) => [
      id,
      name,
      { text: state, tone: STATE_TONES[state] },
      stopAt === null || state === 'stopped' ? '' : `stop ${distanceText(stopAt, nowMs)}`,
      progress === null ? '' : percentText(progress),
      state === 'stopped' ? '' : saysText(said, nowMs),
    ]);
}

const percentText = (share: number): string => `${Math.round(share * 100)} %`;

function saysText(
  { canTerminate, needsUntil }: Pick<PayloadRow, 'canTerminate' | 'needsUntil'>,
  nowMs: number,
): string {
  if (canTerminate?.now) return 'can terminate now';
  if (typeof canTerminate?.at === 'number') return `can terminate ${distanceText(canTerminate.at, nowMs)}`;
  const needsMs = needsUntil === null ? 0 : needsUntil * 1000 - nowMs;
  return needsMs > 0 ? `needs ${formatDuration(needsMs)} more` : '';
}

function featureTitle(title: string, features: Readonly<Record<string, FeatureRow>>): string {
  const all = Object.values(features);
  const stale = all.filter((feature) => feature.stale).length;
  return stale === 0 ? title : `${title} (${stale} of ${all.length} stale)`;
}

function featureRows(features: Readonly<Record<string, FeatureRow>>, nowMs: number): readonly Row[] {
  return Object.entries(features)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([key, { value, source, since, stale }]) => [
      key,
      value,
      { text: `${stale ? '(stale) ' : ''}${source}`, tone: stale ? 'warning' : undefined },
      { text: ageText(since, nowMs), tone: 'quiet' },
    ]);
}

/** Instants are whole seconds: less says nothing, and our clock may be behind the daemon's answer. */
const SECOND_MS = 1_000;

const ageText = (since: number | null, nowMs: number): string =>
  since === null ? '' : `for ${formatDuration(Math.max(SECOND_MS, Math.floor(nowMs / SECOND_MS - since) * SECOND_MS))}`;

const SOURCE_TONES: Readonly<Record<string, Tone>> = { ok: 'good', stale: 'warning', failed: 'bad', absent: 'quiet' };

function sourceRow(source: SourceRow, nowMs: number): Row {
  const { name, state, since } = source;
  return [
    name,
    { text: state, tone: SOURCE_TONES[state] },
    { text: ageText(since, nowMs), tone: 'quiet' },
    troubles(source).join(' '),
  ];
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

function answerFacts(lifetime: LifetimeDocument, nowMs: number): readonly (readonly [string, Cell])[] {
  const { terminationAllowed, canTerminate } = lifetime;
  const progress = canTerminate?.progress ?? null;
  return [
    ['site may terminate', answerText(terminationAllowed)],
    ['can terminate', canTerminateText(lifetime, (unixSecs) => instantAndDistance(unixSecs, nowMs))],
    ...(progress === null ? [] : [['progress', percentText(progress)] as const]),
  ];
}

function canTerminateText({ canTerminate }: LifetimeDocument, when: (unixSecs: number) => string): string {
  if (canTerminate === null) return 'unknown: no payload has lived here yet';
  if (canTerminate.now) return 'now';
  const { at, mustNotUntil } = canTerminate;
  if (at !== null && (mustNotUntil === null || mustNotUntil < at)) return `from ${when(at)}`;
  if (mustNotUntil !== null) return `not before ${when(mustNotUntil)}; work is lost until then`;
  return 'not now, nobody has said how long';
}
