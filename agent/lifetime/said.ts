/** What those who have ended had to say, and what may still be added to it: a part of the state (words.ts). */
import type { FinalWord } from './types.ts';

/** Outlives a boot: for the site it is one machine. */
export interface WordsRecord {
  /** The highest of 300 and more, the first of equals. */
  readonly worst: FinalWord | null;
  /** Somebody was stopped because the host wanted it. */
  readonly stopped: FinalWord | null;
  /** The latest that ended by itself and well. */
  readonly done: FinalWord | null;
  /** Something was said in this boot: with nobody left, it is time to tell it. */
  readonly due: boolean;
  /** Notices of which a payload was not stopped in order: their platforms wait until their time is over. */
  readonly disorder: readonly string[];
  /**
   * Runs of hook steps (HookRun.id) that may go on although their payload has ended: what they save is not safe yet, and
   * whether it was is not known until `step_ended` or `step_failed`.
   */
  readonly saving: readonly string[];
}

export const NOTHING_SAID: WordsRecord = {
  worst: null,
  stopped: null,
  done: null,
  due: false,
  disorder: [],
  saving: [],
};

/** In another boot nobody has said anything yet, and no program of the last one runs. */
export const wordsOfAnotherBoot = (words: WordsRecord): WordsRecord => ({ ...words, due: false, saving: [] });
