/** The table of `mjf-agent probe`: each source, by what it was found, what it answered in how long, what it gives. Pure. */
import type { ProbedQuestion, ProbedSource, ProbeReport } from '../probe/types.ts';
import { type Cell, grid, paragraph, type Row } from '../terminal/grid.ts';
import type { Look, Tone } from '../terminal/look.ts';

/** More questions than this are shown by what they have in common; `--json` has them all. */
const MOST_QUESTIONS = 12;
/** Below this there is no room for what a source gives; the picture below names the source of each value. */
const ROOMY_COLUMNS = 100;
/** Below this addresses stand under their lines. */
const NARROW_COLUMNS = 60;

const TITLES = ['source', 'answer', 'ms', 'gives', 'found by, and what was asked'];
const GIVES = 3;
const FOUND = 4;
const WHY_TEXTS: Readonly<Record<string, string>> = {
  always: 'looked at on every machine',
  environment: 'named by $MACHINEFEATURES or $JOBFEATURES',
  metadata: 'named by the metadata',
};

/** Lines without line feeds. */
export function sourceLines(report: ProbeReport, look: Look): readonly string[] {
  const used = report.sources.filter((source) => source.used);
  const unused = unusedLines(report.sources, look);
  if (used.length === 0) return unused;
  const width = look.columns ?? Number.POSITIVE_INFINITY;
  const isShown = (column: number): boolean =>
    (column !== GIVES || width >= ROOMY_COLUMNS) && (column !== FOUND || width >= NARROW_COLUMNS);
  const parts = used.map((source) => ({ rows: rowsOf(source, report), remarks: remarksOf(source) }));
  const all: readonly Row[] = [
    TITLES.map((text) => ({ text, tone: 'quiet' as const })),
    ...parts.flatMap(({ rows }) => rows),
  ];
  // One table, so that all columns are aligned; what has no room in it stands under the row that it is about.
  const [titles = '', ...lines] = grid(
    all.map((row) => row.filter((_, column) => isShown(column))),
    look,
    '  ',
  );
  const below = (text: string): readonly string[] => paragraph(text, look, '    ');
  let at = 0;
  const body = parts.flatMap(({ rows, remarks }) => {
    const own = rows.flatMap((row) => [lines[at++] ?? '', ...(isShown(FOUND) ? [] : below(textOf(row[FOUND])))]);
    return [...own, ...remarks.flatMap(below)];
  });
  return [titles, ...body, ...unused];
}

const textOf = (cell: Cell | undefined): string => (typeof cell === 'object' ? cell.text : (cell ?? ''));

const TONES: Readonly<Record<string, Tone>> = { answer: 'good', no_channel: 'quiet', failed: 'bad' };

function rowsOf(source: ProbedSource, report: ProbeReport): readonly Row[] {
  const { name, why, sign, outcome, error } = source;
  const answer = { answer: 'answered', no_channel: 'not there', failed: `failed: ${error}` }[outcome ?? 'failed'];
  const found = `${WHY_TEXTS[why] ?? why}${sign === null ? '' : `: ${sign}`}`;
  const ms = source.took_ms === null ? '' : String(source.took_ms);
  const first: Row = [name, { text: answer, tone: TONES[outcome ?? 'failed'] }, ms, givesText(name, report), found];
  return [first, ...questionRows(source.asked)];
}

/** What of the picture below is from this source. */
function givesText(name: string, { would }: ProbeReport): string {
  const sides = [would.machinefeatures, would.jobfeatures];
  const keys = sides.flatMap((side) => Object.values(side)).filter(({ source }) => source === name).length;
  const notices = would.notices.filter(({ source }) => source === name).length;
  const counts = [counted(keys, 'key'), counted(notices, 'notice')].filter((text) => text !== '');
  return counts.join(', ') || 'nothing';
}

const counted = (count: number, what: string): string =>
  count === 0 ? '' : `${count} ${what}${count === 1 ? '' : 's'}`;

const remarksOf = ({ detail, faults }: ProbedSource): readonly string[] => [
  ...(detail === null ? [] : [detail]),
  ...Object.entries(faults).map(([key, code]) => `no good value of ${key} (${code})`),
];

function questionRows(asked: readonly ProbedQuestion[]): readonly Row[] {
  if (asked.length <= MOST_QUESTIONS)
    return asked.map(({ what, answered, took_ms }) => questionRow(answered, took_ms, what));
  const groups = new Map<string, { readonly first: ProbedQuestion; count: number; slowestMs: number }>();
  for (const question of asked) {
    const common = `${placeOf(question)} ${question.answered}`;
    const group = groups.get(common) ?? { first: question, count: 0, slowestMs: 0 };
    groups.set(common, group);
    group.count += 1;
    group.slowestMs = Math.max(group.slowestMs, question.took_ms);
  }
  return [...groups.values()].map(({ first, count, slowestMs }) =>
    count === 1
      ? questionRow(first.answered, first.took_ms, first.what)
      : questionRow(first.answered, slowestMs, `${count} times, this the slowest: ${placeOf(first)}`),
  );
}

/** Without the last part of its path. */
const placeOf = ({ what }: ProbedQuestion): string => what.replace(/[^/]*$/, '');

const questionRow = (answered: string, tookMs: number, what: string): Row => [
  '',
  answered,
  String(tookMs),
  '',
  { text: what, tone: undefined, isPlace: true },
];

function unusedLines(sources: readonly ProbedSource[], look: Look): readonly string[] {
  const unused = sources.filter(({ used }) => !used);
  return [...new Set(unused.map(({ why }) => why))].flatMap((why) => {
    const names = unused.flatMap((each) => (each.why === why ? [each.name] : []));
    return paragraph(`${why}: ${names.join(', ')}`, look, '  ');
  });
}
