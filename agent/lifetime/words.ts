/**
 * Last words to the site (SEMANTICS S5.3; mjf.md, "VM to site"): each payload's is kept when it ends, and one message goes
 * out for all of them. Here also what must have gone well before a platform is told to begin (S5.4).
 */
import { isAlive } from './restart.ts';
import { isSignalled, type PayloadRecord, type State } from './state.ts';
import type { FinalWord, Phase, SnapshotNotice } from './types.ts';

/** What those who have ended had to say. Outlives a boot: for the site it is one machine. */
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
}

export const NOTHING_SAID: WordsRecord = { worst: null, stopped: null, done: null, due: false, disorder: [] };
/** Far more notices than a machine gets in one life; the oldest are over. */
const MAX_DISORDER = 64;
/** From here on it is a fault, and sites back off (mjf.md). */
export const FAULT_CODE = 300;
const STOPPED: FinalWord = { code: 100, text: 'Shutdown as requested by the host' };
const DONE: FinalWord = { code: 200, text: 'Intended work completed' };
/** What a program of the operator's was to save is not saved. */
const STEP_FAILED_CODE = 710;

/** The words after this payload has ended, with or without a word of its own. */
export function payloadEnded(words: WordsRecord, record: PayloadRecord): WordsRecord {
  const word = wordOf(record);
  return { ...said(words, word), disorder: withDisorder(words.disorder, record, word) };
}

/** Somebody who is no payload has said it: the machine's operator. */
export const said = (words: WordsRecord, { code, text }: FinalWord): WordsRecord => ({
  ...words,
  ...(code >= FAULT_CODE && code > (words.worst?.code ?? 0) && { worst: { code, text } }),
  ...(code < 200 && { stopped: { code, text } }),
  ...(code >= 200 && code < FAULT_CODE && { done: { code, text } }),
  due: true,
});

/** Its own; else what can be told from outside. */
function wordOf(record: PayloadRecord): FinalWord {
  const { word } = record.spec;
  const { failed, episode } = record;
  // A payload may well believe to have ended in order, when what was to save its work has not.
  const isLost = failed !== undefined && episode?.ended === null && episode.number === failed.episode;
  if (isLost && (word === undefined || word.code < FAULT_CODE)) return { code: STEP_FAILED_CODE, text: failed.detail };
  return word ?? (isStopped(record) ? STOPPED : DONE);
}

const isStopped = ({ episode, wasSignalled }: PayloadRecord): boolean =>
  (episode?.ended === null && isSignalled(episode)) || wasSignalled === true;

function withDisorder(before: readonly string[], record: PayloadRecord, word: FinalWord): readonly string[] {
  const { episode } = record;
  if (episode?.ended !== null || (word.code < FAULT_CODE && !wasKilled(record))) return before;
  return [...new Set([...before, ...episode.noticeIds])].slice(-MAX_DISORDER);
}

/** It did not end by itself: a SIGKILL has reached it, or a step was not to be had. */
const wasKilled = ({ episode }: PayloadRecord): boolean =>
  episode?.marks.some(
    ({ step, state, missed }) =>
      state === 'refused' || (step.signal === 'SIGKILL' && state === 'done' && missed !== true),
  ) === true;

/**
 * The message as soon as it is due: nobody lives any more, or the machine goes down over those who do. The highest code of
 * 300 and more, else that the host has stopped somebody, else that the work is done.
 */
export function lastWord({ payloads, words }: State, phase: Phase): FinalWord | null {
  const living = Object.values(payloads).filter(isAlive);
  const goesDown = phase === 'stopped';
  if (living.length > 0 ? !goesDown : !words.due) return null;
  let all = words;
  for (const record of living) all = said(all, wordOf(record));
  if (goesDown && living.length > 0) all = { ...all, stopped: all.stopped ?? STOPPED };
  return all.worst ?? all.stopped ?? all.done;
}

/**
 * S5.4: the platform of these may be told to begin. Only where payloads have lived and ended (a machine on which nobody
 * registered may be busy all the same), and none of this notice's was lost.
 */
export function releasedNotices(
  { payloads, tally, words }: State,
  phase: Phase,
  setting: readonly (Pick<SnapshotNotice, 'id' | 'awaits'> & { readonly confirmed: boolean })[],
): readonly string[] {
  if (phase !== 'stopped' || tally.ended === 0 || Object.values(payloads).some(isAlive)) return [];
  return setting
    .filter(({ id, awaits, confirmed }) => awaits !== undefined && confirmed && !words.disorder.includes(id))
    .map(({ id }) => id);
}
