/**
 * Which of the operator's programs are to be run for the machine's news (issue 4, "Hooks"): each piece of news once per boot,
 * over crash and restart. What was told is written down together with the wish to tell it; a run that may not have come to
 * its end before a crash is begun once more: its programs never a third time, its web hooks as long as it is worth telling.
 */
import { SAME_EPISODE_MS } from './escalation.ts';
import { own } from './held.ts';
import { log } from './log.ts';
import { counts, type NoticeInForce } from './notice.ts';
import type { HooksRecord, OpenRun, ToldNotice } from './told.ts';
import type { Effect, HookEvent, HookPart, Instant, Phase } from './types.ts';
import { earliest, type Wake } from './wake.ts';

/** Each open run may be a running program. Phases keep room of their own: a host with many notices must not silence them. */
const MAX_OPEN = 64;
const MAX_OPEN_NOTICES = 48;
/** Where no deadline is ahead, older news is not posted again after a crash: as long as a web hook tries by itself. */
const POSTED_WITHIN_MS = 600_000;
/** A host whose word changes with each poll is told of this often, and so is a payload that changes its mind. */
const TELL_AGAIN_MS = 60_000;

const PARTS = ['programs', 'posts'] as const satisfies readonly HookPart[];
const PHASES = ['running', 'draining', 'stopping', 'stopped'] as const satisfies readonly Phase[];

export interface MachineNews {
  readonly notices: readonly NoticeInForce[];
  /** Ids that a cleared notice may still return under as the same one (S1.6). */
  readonly remembered: () => ReadonlySet<string>;
  readonly phase: Phase;
  readonly overdue: boolean;
  /** On this machine's clock. */
  readonly deadlineMs: number | null;
  /** The answer to the site. Nobody knows (S5.2) is not yes. */
  readonly canTerminate: boolean;
}

/** The runs that begin now, with what was told up to and including them. */
export function advanceHooks(
  before: HooksRecord,
  news: MachineNews,
  now: Instant,
): { readonly hooks: HooksRecord; readonly effects: readonly Effect[]; readonly wake: Wake } {
  const byMs = news.deadlineMs !== null && news.deadlineMs > now.wall ? news.deadlineMs : null;
  const effects: Effect[] = [];
  const dropped: HookEvent[] = [];
  let { runs } = before;
  let open = before.open;
  const emit = ({ id, event, notice, canTerminate }: OpenRun, repeated: boolean, parts?: readonly HookPart[]): void => {
    const what = { ...(notice && { notice }), ...(canTerminate !== undefined && { canTerminate }) };
    effects.push({ type: 'hook', run: { id, event, ...what, byMs, repeated, ...(parts && { parts }) } });
  };
  for (const run of before.open.filter(({ state }) => state === 'repeat')) {
    const { id, event, over, begunMono = now.mono } = run;
    const isLate = byMs === null && now.mono - begunMono >= POSTED_WITHIN_MS;
    const parts = PARTS.filter((part) => part !== over && !(part === 'posts' && isLate));
    if (isLate && over !== 'posts')
      effects.push(log('warn', 'hook_expired', { run: id, hook: event }, `web hooks are no longer told of ${event}`));
    // A part that is left out here is over.
    const left: OpenRun = {
      ...run,
      state: 'issued',
      ...(parts.includes('programs') && { uncertain: true }),
      ...(isLate && { over: 'posts' }),
    };
    open = open.flatMap((each) => (each !== run ? [each] : parts.length > 0 ? [left] : []));
    if (parts.length > 0) emit(run, true, parts.length < PARTS.length ? parts : undefined);
  }
  const begin = (event: HookEvent, what: Pick<OpenRun, 'notice' | 'canTerminate'> = {}): void => {
    if (open.length >= (what.notice === undefined ? MAX_OPEN : MAX_OPEN_NOTICES)) {
      dropped.push(event);
      return;
    }
    runs += 1;
    const run: OpenRun = {
      id: `${runs}-${event}`,
      event,
      ...what,
      state: 'issued',
      begunMono: now.mono,
    };
    open = [...open, run];
    emit(run, false);
  };

  const told = tellNotices(before.notices, news, now);
  for (const notice of told.fresh) begin('notice', { notice });
  const phase = phaseToTell(before, news);
  for (const event of passed(before.phase, phase)) begin(event);
  const overdue = phase === 'stopped' && news.overdue;
  const { tells, wakeMono } = answerToTell(before.canTerminate, open, news, now);
  if (tells) begin('can_terminate', { canTerminate: news.canTerminate });
  const canTerminate = tells ? { now: news.canTerminate, mono: now.mono } : before.canTerminate;
  if (dropped.length > 0)
    effects.push(
      log(
        'warn',
        'hook_dropped',
        { hooks: [...new Set(dropped)], count: dropped.length },
        `${dropped.length} runs of hooks are left out, too many have not ended yet`,
      ),
    );
  const nothing =
    told.notices === before.notices && phase === before.phase && overdue === before.overdue && open === before.open;
  const hooks = nothing
    ? before
    : { runs, phase, overdue, notices: told.notices, open, ...(canTerminate && { canTerminate }) };
  return { hooks, effects, wake: { wall: null, mono: earliest(told.wakeMono, wakeMono) } };
}

/**
 * Whether the answer to the site is told now, and when it is at the latest if nothing happens: when it is another one than
 * was told last, no sooner than a minute after that; and never while the programs that were told last still run, since
 * theirs would be the last word then. Where there is no room it waits for others to end.
 */
function answerToTell(
  told: HooksRecord['canTerminate'],
  open: readonly OpenRun[],
  { canTerminate }: MachineNews,
  now: Instant,
): { readonly tells: boolean; readonly wakeMono: number | null } {
  if (canTerminate === (told?.now ?? false)) return { tells: false, wakeMono: null };
  const fromMono = told === undefined ? now.mono : told.mono + TELL_AGAIN_MS;
  if (fromMono > now.mono) return { tells: false, wakeMono: fromMono };
  const isBusy = open.some(({ event, over }) => event === 'can_terminate' && over !== 'programs');
  return { tells: !isBusy && open.length < MAX_OPEN_NOTICES, wakeMono: null };
}

/**
 * New notices and those whose kind or time is another one, and when the next is told. A notice of another boot is no news
 * before its source has said it again or its time has come: the first answer is as likely to clear it (S4.1). One that was
 * cleared is told again when it returns as another one (S1.6).
 */
function tellNotices(before: HooksRecord['notices'], { notices, remembered }: MachineNews, now: Instant) {
  let wakeMono: number | null = null;
  const fresh = notices.filter((notice) => {
    if (!counts(notice) || !(notice.confirmed || (notice.planMs !== null && notice.planMs <= now.wall))) return false;
    const sinceMono = newsMono(own(before, notice.id), notice);
    if (sinceMono === null || sinceMono <= now.mono) return sinceMono !== null;
    wakeMono = earliest(wakeMono, sinceMono);
    return false;
  });
  const present = new Set(notices.map(({ id }) => id));
  const away = Object.keys(before).filter((id) => !present.has(id));
  const known = away.length > 0 ? remembered() : present;
  const forgotten = new Set(away.filter((id) => !known.has(id)));
  if (fresh.length === 0 && forgotten.size === 0) return { fresh: [], notices: before, wakeMono };
  const kept = Object.entries(before).filter(([id]) => !forgotten.has(id));
  const added = fresh.map(({ id, kind, deadlineMs, firstSeenMs }): [string, ToldNotice] => [
    id,
    { kind, deadlineMs, firstSeenMs, mono: now.mono },
  ]);
  return {
    fresh: fresh.map(({ id, kind, deadlineMs }) => ({ id, kind, deadlineMs })),
    notices: Object.fromEntries([...kept, ...added]),
    wakeMono,
  };
}

/**
 * From when on a notice is news after what was told of it, monotonic; null: it is none. A time that moves no more than an
 * episode bears is none (S3.6), counted from what was told last, so that one that creeps is. The rest waits until the last
 * word is a minute old: only a deadline that is new, or earlier by more than that minute, would be too late then.
 */
function newsMono(told: ToldNotice | undefined, { kind, deadlineMs, firstSeenMs }: NoticeInForce): number | null {
  if (told === undefined || told.firstSeenMs !== firstSeenMs) return Number.NEGATIVE_INFINITY;
  const earlierMs = told.deadlineMs === deadlineMs ? 0 : timeOf(told.deadlineMs) - timeOf(deadlineMs);
  if (told.kind === kind && Math.abs(earlierMs) <= SAME_EPISODE_MS) return null;
  return earlierMs > TELL_AGAIN_MS ? Number.NEGATIVE_INFINITY : (told.mono ?? 0) + TELL_AGAIN_MS;
}

const timeOf = (deadlineMs: number | null): number => deadlineMs ?? Number.POSITIVE_INFINITY;

/**
 * A payload that comes while the machine is being stopped leads from `stopped` back to `stopping`, and that is no word of the
 * host's: nothing is cancelled, and nothing is told twice.
 */
function phaseToTell(before: HooksRecord, { phase }: MachineNews): Phase {
  return before.phase === 'stopped' && phase === 'stopping' && !before.overdue ? 'stopped' : phase;
}

/** Every phase that was entered or jumped over, in order; or that it went back. */
function passed(from: Phase, to: Phase): readonly HookEvent[] {
  const [a, b] = [PHASES.indexOf(from), PHASES.indexOf(to)];
  if (b < a) return ['cancelled'];
  return PHASES.slice(a + 1, b + 1).filter((phase) => phase !== 'running');
}

/** `part`: what has ended of it; undefined = all. */
export function hookEnded(hooks: HooksRecord, id: string, part?: HookPart): HooksRecord {
  const run = hooks.open.find((each) => each.id === id);
  if (run === undefined || (part !== undefined && run.over === part)) return hooks;
  const isOver = part === undefined || run.over !== undefined;
  return {
    ...hooks,
    open: hooks.open.flatMap((each) => (each !== run ? [each] : isOver ? [] : [{ ...run, over: part }])),
  };
}
