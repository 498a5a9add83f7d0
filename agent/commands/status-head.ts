/** What comes first on the screens of `status` and `watch`: the phase, the time that is left, why, and what happens next. Pure. */
import { formatDuration } from '../duration.ts';
import { shareOf, timeBar } from '../terminal/bar.ts';
import { type Cell, facts } from '../terminal/grid.ts';
import type { Look, Tone } from '../terminal/look.ts';
import type { LifetimeDocument } from './lifetime-document.ts';
import { clockText, instantText } from './times.ts';

export const PHASE_TEXTS: Readonly<Record<string, string>> = {
  running: 'running',
  draining: 'draining: take no new work',
  stopping: 'stopping: payloads are being stopped',
  stopped: 'stopped: nothing is left to do',
};

export const PHASE_TONES: Readonly<Record<string, Tone>> = {
  running: 'good',
  draining: 'warning',
  stopping: 'bad',
  stopped: 'strong',
};

export interface HeadOptions {
  /** Seconds are shown, for a screen that is drawn each second. */
  readonly isLive?: boolean;
  /** What the clock says is of an old document: said in words beside it. */
  readonly isOld?: boolean;
}

/** Lines without line feeds. */
export function statusHead(
  lifetime: LifetimeDocument,
  nowMs: number,
  look: Look,
  { isLive = false, isOld = false }: HeadOptions = {},
): readonly string[] {
  const distance = isLive ? clockText : formatDuration;
  const phase: Cell = { text: PHASE_TEXTS[lifetime.phase] ?? lifetime.phase, tone: PHASE_TONES[lifetime.phase] };
  const old = isOld ? ' (old)' : '';
  const { deadline, reason, graceSecs } = lifetime;
  const rows: (readonly [string, Cell])[] = [['phase', phase]];
  if (deadline === null) rows.push(['remaining', `no end is foreseen${old}`]);
  else {
    const leftMs = deadline * 1000 - nowMs;
    const left = leftMs >= 0 ? `${distance(leftMs)}${old}` : `${distance(-leftMs)} over the deadline${old}`;
    rows.push(['remaining', { text: left, tone: leftMs >= 0 ? 'strong' : 'bad' }], ...barRow(lifetime, nowMs, look));
    rows.push(['deadline', instantText(deadline)]);
  }
  if (lifetime.overdue) rows.push(['', { text: 'overdue: the machine outlived its deadline', tone: 'bad' }]);
  if (reason !== null) rows.push(['reason', reason]);
  const doubt = silentText(lifetime);
  if (doubt !== null) rows.push(['sources', { text: doubt, tone: 'warning' }]);
  rows.push(
    ...comingOf(lifetime, nowMs).map(({ what, at }, index) => {
      const text = `${what} in ${distance(at * 1000 - nowMs)} (${instantText(at)})`;
      return [index === 0 ? 'next' : '', text] as const;
    }),
  );
  if (graceSecs !== null) rows.push(['host', `promises ${graceSecs} s of notice`]);
  return facts(rows, look);
}

/** Named; more are counted. */
const SOURCES_NAMED = 3;

/** Who gives no answer now: what he said holds, but nobody confirms it. Their rows stand where a small screen ends. */
function silentText({ sources }: LifetimeDocument): string | null {
  const silent = sources.filter(({ state }) => state === 'stale' || state === 'failed');
  if (silent.length === 0) return null;
  const named = silent.slice(0, SOURCES_NAMED).map(({ name, state }) => `${name} ${state}`);
  const more = silent.length - named.length;
  return `without an answer: ${named.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

/** What lies ahead, in its order. The deadline itself stands above. */
function comingOf({ drainAt, stopAt }: LifetimeDocument, nowMs: number): readonly { what: string; at: number }[] {
  const coming = [
    { what: 'take no new work', at: drainAt },
    { what: 'payloads are stopped', at: stopAt },
  ];
  return coming.flatMap(({ what, at }) => (at === null || at * 1000 <= nowMs ? [] : [{ what, at }]));
}

/** Beyond this a bar is not read any better. */
const WIDEST_BAR = 60;
const LABEL_CELLS = 'remaining  '.length;
const PERCENT_CELLS = ' 100 % gone'.length;

function barRow(lifetime: LifetimeDocument, nowMs: number, look: Look): readonly (readonly [string, Cell])[] {
  const { deadline, drainAt, stopAt } = lifetime;
  const fromSecs = knownSince(lifetime);
  if (deadline === null || fromSecs === null) return [];
  const nowSecs = nowMs / 1000;
  const marks = [
    ['d', drainAt],
    ['s', stopAt],
  ] as const;
  const span = {
    fromSecs,
    toSecs: deadline,
    nowSecs,
    marks: marks.flatMap(([letter, at]) => (at === null ? [] : [[letter, at] as const])),
  };
  const cells = Math.min(WIDEST_BAR, (look.columns ?? 80) - LABEL_CELLS - PERCENT_CELLS);
  const percent = Math.floor(shareOf(nowSecs, fromSecs, deadline) * 100);
  const text = `${timeBar(span, cells, look)} ${String(percent).padStart(3)} % gone`;
  return [['', { text, tone: PHASE_TONES[lifetime.phase] }]];
}

/** When the agent first heard of this deadline; null from a daemon that does not say. */
function knownSince({ notices, deadline }: LifetimeDocument): number | null {
  const seen = notices.flatMap((notice) =>
    notice.deadline === deadline && notice.firstSeen !== null ? [notice.firstSeen] : [],
  );
  return seen.length === 0 ? null : Math.min(...seen);
}
