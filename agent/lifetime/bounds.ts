/**
 * How much is held of one source: the ids are the host's, and one that invents them must fill neither memory nor journal,
 * nor hide what sets a deadline.
 */
import { type Held, isLive, type KnownNotice } from './held.ts';
import { DEADLINE_KINDS, type Policy } from './types.ts';

/** Notices of one source, those that are gone but remembered (S1.6) among them. A machine has a handful. */
export const MAX_NOTICES = 256;
/** Faults of one source. More of them nobody reads. */
export const MAX_FAULTS = 64;
/** The fault that tells of what found no room … */
export const TOO_MANY = 'too_many';
/** … among notices … */
const NOTICES_LEFT_OUT = 'notice/*';
/** … and among the faults themselves. */
const FAULTS_LEFT_OUT = '*';

/** By what a notice counts at all (S1.1, S1.8). */
export interface Judging {
  readonly kindOverrides: Policy['kindOverrides'];
  readonly bootWallMs: number;
}

type Notices = Readonly<Record<string, Held<KnownNotice>>>;
type Faults = Readonly<Record<string, string>>;

/**
 * The notices for which there is room. When there are too many, first those go that are gone, the oldest of them first, then
 * those that only inform, the newest first; of those that set a deadline the earliest stay (S1.2). `isRefused`: one that is
 * live found no room.
 */
export function boundNotices(
  notices: Notices,
  judging: Judging,
): { readonly notices: Notices; readonly isRefused: boolean } {
  const entries = Object.entries(notices);
  if (entries.length <= MAX_NOTICES) return { notices, isRefused: false };
  const sorted = entries
    .map((entry) => ({ entry, order: orderOf(entry[1], judging) }))
    .sort((a, b) => a.order[0] - b.order[0] || a.order[1] - b.order[1]);
  const left = new Set(sorted.slice(0, MAX_NOTICES).map(({ entry: [id] }) => id));
  return {
    notices: Object.fromEntries(entries.filter(([id]) => left.has(id))),
    isRefused: sorted.slice(MAX_NOTICES).some(({ entry: [, held] }) => isLive(held)),
  };
}

/** Its class, and its place in that, the smaller the more it matters. */
function orderOf(held: Held<KnownNotice>, { kindOverrides, bootWallMs }: Judging): readonly [number, number] {
  if (held.goneMs !== null) return [3, -held.goneMs];
  const { deadlineMs } = held.value;
  const kind = kindOverrides[held.value.kind] ?? held.value.kind;
  const isOver = held.dismissed === true || (deadlineMs !== null && deadlineMs < bootWallMs);
  if (DEADLINE_KINDS.has(kind) && deadlineMs !== null && !isOver) return [0, deadlineMs];
  return [kind === 'drain' || DEADLINE_KINDS.has(kind) ? 1 : 2, held.firstSeenMs];
}

/**
 * The faults for which there is room, in their order, with one that tells of what was left out. `isHeld`: what is wrong is of
 * something that is in force. `notices`: how many are held, and whether one was refused just now.
 */
export function boundFaults(
  faults: Faults,
  before: Faults,
  isHeld: (path: string) => boolean,
  notices: { readonly count: number; readonly isRefused: boolean },
): Faults {
  const { [NOTICES_LEFT_OUT]: _, [FAULTS_LEFT_OUT]: __, ...own } = faults;
  const paths = Object.keys(own);
  // A source may speak of some only: what was left out once still is as long as there is no room.
  const isFull = (path: string, isNow: boolean, isStill: boolean): boolean =>
    isNow || (isStill && before[path] === TOO_MANY);
  const orderOfFault = (path: string): number => (isHeld(path) ? 0 : Object.hasOwn(before, path) ? 1 : 2);
  const left =
    paths.length <= MAX_FAULTS
      ? own
      : pick(own, new Set([...paths].sort((a, b) => orderOfFault(a) - orderOfFault(b)).slice(0, MAX_FAULTS)));
  return {
    ...left,
    ...(isFull(NOTICES_LEFT_OUT, notices.isRefused, notices.count >= MAX_NOTICES) && { [NOTICES_LEFT_OUT]: TOO_MANY }),
    ...(isFull(FAULTS_LEFT_OUT, paths.length > MAX_FAULTS, paths.length >= MAX_FAULTS) && {
      [FAULTS_LEFT_OUT]: TOO_MANY,
    }),
  };
}

const pick = (faults: Faults, paths: ReadonlySet<string>): Faults =>
  Object.fromEntries(Object.entries(faults).filter(([path]) => paths.has(path)));
