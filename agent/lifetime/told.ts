/** What the operator's programs have been told in this boot, and what is still being told: a part of the state (hooks.ts). */
import type { HookEvent, HookPart, HookRun, NoticeKind, Phase } from './types.ts';

export interface HooksRecord {
  /** Runs so far in this boot: gives them their names. */
  readonly runs: number;
  /** How far the machine's going down was told. */
  readonly phase: Phase;
  /** It is past its deadline: from there only the host's word leads back. */
  readonly overdue: boolean;
  /** By id, what was told of each notice. */
  readonly notices: Readonly<Record<string, ToldNotice>>;
  readonly open: readonly OpenRun[];
  /** What was told last of the answer to the site, and when, monotonic. Absent: that it can be terminated was never told. */
  readonly canTerminate?: { readonly now: boolean; readonly mono: number };
}
export interface ToldNotice {
  readonly kind: NoticeKind;
  readonly deadlineMs: number | null;
  /** Another one under the same id was first seen at another time (S1.6). */
  readonly firstSeenMs: number;
  /** When, monotonic. Absent: a version wrote it that did not know. */
  readonly mono?: number;
}
export interface OpenRun {
  readonly id: string;
  readonly event: HookEvent;
  readonly notice?: NonNullable<HookRun['notice']>;
  readonly canTerminate?: boolean;
  /** As a step's: `repeat` = begun before a crash. */
  readonly state: 'issued' | 'repeat';
  /** Its programs were run a second time; never a third. */
  readonly uncertain?: true;
  /** The part that has ended: what is open is the other one. */
  readonly over?: HookPart;
  /** When it began, monotonic. Absent in what an older version wrote. */
  readonly begunMono?: number;
}

/** Nobody has to be told that a machine which has just begun is running. */
export const NOTHING_TOLD: HooksRecord = { runs: 0, phase: 'running', overdue: false, notices: {}, open: [] };

/**
 * After a crash in the same boot. Programs are run once more and no third time; what is posted goes out under an id by which
 * its receiver knows it again, and is repeated as often as we are restarted.
 */
export const restoredHooks = (hooks: HooksRecord): HooksRecord => ({
  ...hooks,
  open: hooks.open.flatMap((run): readonly OpenRun[] => {
    if (!run.uncertain) return [{ ...run, state: 'repeat' }];
    return run.over === 'posts' ? [] : [{ ...run, state: 'repeat', over: 'programs' }];
  }),
});
