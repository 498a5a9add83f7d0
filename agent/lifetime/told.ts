/** What the operator's programs have been told in this boot, and what is still being told: a part of the state (hooks.ts). */
import type { HookEvent, HookRun, NoticeKind, Phase } from './types.ts';

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
}
export interface ToldNotice {
  readonly kind: NoticeKind;
  readonly deadlineMs: number | null;
  /** Another one under the same id was first seen at another time (S1.6). */
  readonly firstSeenMs: number;
}
export interface OpenRun {
  readonly id: string;
  readonly event: HookEvent;
  readonly notice?: NonNullable<HookRun['notice']>;
  /** As a step's: `repeat` = begun before a crash. */
  readonly state: 'issued' | 'repeat';
  readonly uncertain?: true;
}

/** Nobody has to be told that a machine which has just begun is running. */
export const NOTHING_TOLD: HooksRecord = { runs: 0, phase: 'running', overdue: false, notices: {}, open: [] };

/** After a crash in the same boot. */
export const restoredHooks = (hooks: HooksRecord): HooksRecord => ({
  ...hooks,
  open: hooks.open.flatMap((run): readonly OpenRun[] => (run.uncertain ? [] : [{ ...run, state: 'repeat' }])),
});
