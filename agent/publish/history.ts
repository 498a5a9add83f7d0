/**
 * What has happened since the agent started, in words: the differences between one publication and the next, in a memory
 * that cannot grow. Public like the document itself, so payloads are counted and neither named nor numbered (S5.5).
 */
import { hookOf, type Snapshot, type SnapshotNotice, type SnapshotPayload } from '../lifetime/types.ts';
import type { Publication } from '../ports.ts';

export const HISTORY_KINDS = ['agent', 'phase', 'deadline', 'notice', 'answer', 'source', 'payload', 'step'] as const;
export type HistoryKind = (typeof HISTORY_KINDS)[number];

export interface HistoryEvent {
  readonly atMs: number;
  readonly kind: HistoryKind;
  readonly text: string;
  /** What the deadline became, where it is about that and there is one. */
  readonly deadlineMs?: number;
}
export interface History {
  /** To be called with each publication, in their order. */
  heard(publication: Publication, nowMs: number): void;
  /** The oldest first. */
  events(): readonly HistoryEvent[];
}

type Told = Omit<HistoryEvent, 'atMs'>;
/** The same thing happening to several payloads: told as one event with a number. */
interface Counted {
  readonly kind: 'payload' | 'step';
  readonly what: string;
  readonly count: number;
}
type Change = Told | Counted;
/** `order`: as it was heard. Times may repeat, and a clock that is set goes back. */
type Kept = Change & { readonly atMs: number; readonly order: number };

/**
 * Events about the machine's fate, and as many of its traffic: a flapping source, a thousand payloads or one that changes its
 * mind in every turn of its loop push out no notice.
 */
export const KEPT_EVENTS = 128;
const TRAFFIC: ReadonlySet<HistoryKind> = new Set<HistoryKind>(['answer', 'source', 'payload', 'step']);
/** A pilot that starts twenty jobs one by one is one event for a reader. */
const MERGE_MS = 10_000;
/** Of what a host wrote: enough to be recognised, the whole text stands in the notice. */
const EXCERPT_LENGTH = 160;

export function createHistory(first: Publication, nowMs: number): History {
  let before = first;
  let fate: readonly Kept[] = [
    { atMs: nowMs, order: 0, kind: 'agent', text: `agent started, ${first.snapshot.phase}` },
  ];
  let heard = 0;
  let traffic: readonly Kept[] = [];
  return {
    heard(publication, atMs) {
      for (const change of changesBetween(before, publication)) {
        const event = { ...change, atMs, order: ++heard };
        if (TRAFFIC.has(change.kind)) traffic = added(traffic, event);
        else fate = added(fate, event);
      }
      before = publication;
    },
    events: () => [...fate, ...traffic].sort((one, other) => one.order - other.order).map(toldOf),
  };
}

function added(events: readonly Kept[], event: Kept): readonly Kept[] {
  const last = events.at(-1);
  if (last !== undefined && 'count' in last && 'count' in event) {
    const near = event.atMs >= last.atMs && event.atMs - last.atMs < MERGE_MS;
    if (near && last.kind === event.kind && last.what === event.what)
      return [...events.slice(0, -1), { ...last, count: last.count + event.count }];
  }
  return [...events, event].slice(-KEPT_EVENTS);
}

const toldOf = (event: Kept): HistoryEvent =>
  'count' in event
    ? {
        atMs: event.atMs,
        kind: event.kind,
        text: `${event.what}: ${event.count} payload${event.count === 1 ? '' : 's'}`,
      }
    : event;

function changesBetween(before: Publication, after: Publication): readonly Change[] {
  const [old, now] = [before.snapshot, after.snapshot];
  return [
    ...(old === now ? [] : snapshotChanges(old, now)),
    ...(before.payloads === after.payloads ? [] : payloadChanges(before.payloads, after.payloads)),
  ];
}

function snapshotChanges(old: Snapshot, now: Snapshot): readonly Change[] {
  const changes: Change[] = [];
  if (old.phase !== now.phase) changes.push({ kind: 'phase', text: `${now.phase} (was ${old.phase})` });
  if (old.deadlineMs !== now.deadlineMs) {
    const why = now.reason === null ? '' : ` (${excerpt(now.reason)})`;
    changes.push(
      now.deadlineMs === null
        ? { kind: 'deadline', text: 'no deadline any more' }
        : {
            kind: 'deadline',
            text: `deadline ${old.deadlineMs === null ? 'set' : now.deadlineMs < old.deadlineMs ? 'earlier' : 'later'}${why}`,
            deadlineMs: now.deadlineMs,
          },
    );
  }
  changes.push(...noticeChanges(old.notices, now.notices));
  const [said, says] = [answerOf(old), answerOf(now)];
  if (said !== says) changes.push({ kind: 'answer', text: `can be terminated: ${says}` });
  for (const { name, state } of now.sources) {
    const was = old.sources.find((source) => source.name === name)?.state;
    if (was === state || (was === undefined && state === 'absent')) continue;
    // Before its first answer a source counts as absent, which is no news.
    const from = was === undefined || was === 'absent' ? '' : ` (was ${was})`;
    changes.push({ kind: 'source', text: `${name} ${state}${from}` });
  }
  return changes;
}

function noticeChanges(old: readonly SnapshotNotice[], now: readonly SnapshotNotice[]): readonly Told[] {
  const known = new Map(old.map((notice) => [notice.id, notice]));
  const changes: Told[] = [];
  for (const notice of now) {
    const was = known.get(notice.id);
    known.delete(notice.id);
    const name = `notice ${excerpt(notice.id)}`;
    if (was === undefined)
      changes.push({ kind: 'notice', text: `${name}: ${notice.kind} announced, ${excerpt(notice.reason)}` });
    else if (was.deadlineMs !== notice.deadlineMs || was.kind !== notice.kind)
      changes.push({ kind: 'notice', text: `${name}: ${notice.kind} changed` });
    else if (was.ignored !== notice.ignored)
      changes.push({ kind: 'notice', text: `${name}: ${notice.ignored ? 'ignored by the operator' : 'counts again'}` });
  }
  for (const { id } of known.values()) changes.push({ kind: 'notice', text: `notice ${excerpt(id)}: gone` });
  return changes;
}

/** Without how far it is, which changes all the time. */
function answerOf({ canTerminate }: Snapshot): string {
  if (canTerminate === null) return 'nobody says';
  return canTerminate.now ? 'now' : 'not now';
}

function payloadChanges(old: readonly SnapshotPayload[], now: readonly SnapshotPayload[]): readonly Counted[] {
  const known = new Map(old.map((row) => [row.spec.id, row]));
  const counts = new Map<string, Counted>();
  const count = (kind: Counted['kind'], what: string): void => {
    const sofar = counts.get(what)?.count ?? 0;
    counts.set(what, { kind, what, count: sofar + 1 });
  };
  for (const row of now) {
    const was = known.get(row.spec.id);
    known.delete(row.spec.id);
    if (was === undefined) count('payload', 'registered');
    else if (was.state !== 'stopped' && row.state === 'stopped') count('payload', 'ended');
    for (const what of stepsTaken(was, row)) count('step', what);
  }
  for (const { state } of known.values()) if (state !== 'stopped') count('payload', 'ended');
  return [...counts.values()];
}

/** A hook's name is its owner's. */
function stepsTaken(was: SnapshotPayload | undefined, row: SnapshotPayload): readonly string[] {
  if (was?.plan === row.plan) return [];
  return row.plan.flatMap(({ step, state }, index) => {
    const before = was?.episode === row.episode ? was.plan[index]?.state : undefined;
    if (state === before || (state !== 'done' && state !== 'refused')) return [];
    return [`${hookOf(step.signal) === null ? step.signal : 'hook'}${state === 'done' ? '' : ' refused'}`];
  });
}

const excerpt = (text: string): string =>
  text.length <= EXCERPT_LENGTH ? text : `${text.slice(0, EXCERPT_LENGTH - 1)}…`;
