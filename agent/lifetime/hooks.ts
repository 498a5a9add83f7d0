/**
 * Which of the operator's programs are to be run for the machine's news (issue 4, "Hooks"): each piece of news once per boot,
 * over crash and restart. What was told is written down together with the wish to tell it; a run that may not have come to
 * its end before a crash is begun once more, never a third time.
 */
import { own } from './held.ts';
import { log } from './log.ts';
import { counts, type NoticeInForce } from './notice.ts';
import type { HooksRecord, OpenRun, ToldNotice } from './told.ts';
import type { Effect, HookEvent, Instant, Phase } from './types.ts';

/** Each open run may be a running program. Phases keep room of their own: a host with many notices must not silence them. */
const MAX_OPEN = 64;
const MAX_OPEN_NOTICES = 48;

const PHASES = ['running', 'draining', 'stopping', 'stopped'] as const satisfies readonly Phase[];

export interface MachineNews {
  readonly notices: readonly NoticeInForce[];
  /** Ids that a cleared notice may still return under as the same one (S1.6). */
  readonly remembered: () => ReadonlySet<string>;
  readonly phase: Phase;
  readonly overdue: boolean;
  /** On this machine's clock. */
  readonly deadlineMs: number | null;
}

/** The runs that begin now, with what was told up to and including them. */
export function advanceHooks(
  before: HooksRecord,
  news: MachineNews,
  now: Instant,
): { readonly hooks: HooksRecord; readonly effects: readonly Effect[] } {
  const byMs = news.deadlineMs !== null && news.deadlineMs > now.wall ? news.deadlineMs : null;
  const effects: Effect[] = [];
  const dropped: HookEvent[] = [];
  let { runs } = before;
  let open = before.open;
  const emit = ({ id, event, notice }: OpenRun, repeated: boolean): void => {
    effects.push({ type: 'hook', run: { id, event, ...(notice && { notice }), byMs, repeated } });
  };
  for (const run of before.open.filter(({ state }) => state === 'repeat')) {
    open = open.map((each) => (each === run ? { ...run, state: 'issued', uncertain: true } : each));
    emit(run, true);
    const fields = { run: run.id, hook: run.event };
    effects.push(
      log('warn', 'hook_uncertain', fields, `hooks ${run.event} are run again: it is not known whether they had ended`),
    );
  }
  const begin = (event: HookEvent, notice?: OpenRun['notice']): void => {
    if (open.length >= (notice === undefined ? MAX_OPEN : MAX_OPEN_NOTICES)) {
      dropped.push(event);
      return;
    }
    runs += 1;
    const run: OpenRun = { id: `${runs}-${event}`, event, ...(notice && { notice }), state: 'issued' };
    open = [...open, run];
    emit(run, false);
  };

  const told = tellNotices(before.notices, news, now);
  for (const notice of told.fresh) begin('notice', notice);
  const phase = phaseToTell(before, news);
  for (const event of passed(before.phase, phase)) begin(event);
  const overdue = phase === 'stopped' && news.overdue;
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
  return { hooks: nothing ? before : { runs, phase, overdue, notices: told.notices, open }, effects };
}

/**
 * New notices and those whose kind or time is another one. A notice of another boot is no news before its source has said it
 * again or its time has come: the first answer is as likely to clear it (S4.1). One that was cleared is told again when it
 * returns as another one (S1.6).
 */
function tellNotices(before: HooksRecord['notices'], { notices, remembered }: MachineNews, now: Instant) {
  const fresh = notices.filter((notice) => {
    if (!counts(notice) || !(notice.confirmed || (notice.planMs !== null && notice.planMs <= now.wall))) return false;
    return !isSame(own(before, notice.id), notice);
  });
  const present = new Set(notices.map(({ id }) => id));
  const away = Object.keys(before).filter((id) => !present.has(id));
  const known = away.length > 0 ? remembered() : present;
  const forgotten = new Set(away.filter((id) => !known.has(id)));
  if (fresh.length === 0 && forgotten.size === 0) return { fresh: [], notices: before };
  const kept = Object.entries(before).filter(([id]) => !forgotten.has(id));
  const added = fresh.map(({ id, kind, deadlineMs, firstSeenMs }) => [id, { kind, deadlineMs, firstSeenMs }] as const);
  return {
    fresh: fresh.map(({ id, kind, deadlineMs }) => ({ id, kind, deadlineMs })),
    notices: Object.fromEntries([...kept, ...added]),
  };
}

const isSame = (told: ToldNotice | undefined, { kind, deadlineMs, firstSeenMs }: NoticeInForce): boolean =>
  told?.kind === kind && told.deadlineMs === deadlineMs && told.firstSeenMs === firstSeenMs;

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

export function hookEnded(hooks: HooksRecord, id: string): HooksRecord {
  const open = hooks.open.filter((run) => run.id !== id);
  return open.length === hooks.open.length ? hooks : { ...hooks, open };
}
