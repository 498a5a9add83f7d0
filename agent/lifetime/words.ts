/**
 * Last words to the site (SEMANTICS S5.3; mjf.md, "VM to site"): each payload's is kept when it ends, and one message goes
 * out for all of them. Here also what must have gone well before a platform is told to begin (S5.4).
 */
import { MAX_NOTICES } from './bounds.ts';
import { collectNotices } from './notice.ts';
import type { MachinePlan } from './phase.ts';
import { isAlive } from './restart.ts';
import type { WordsRecord } from './said.ts';
import type { Episode, PayloadRecord, State, StepMark } from './state.ts';
import { stepRunId } from './step-run.ts';
import { stopLeadMs } from './steps.ts';
import { isReservation } from './target.ts';
import { type FinalWord, hookOf, type Instant, type Phase, type Policy, type SnapshotNotice } from './types.ts';
import type { Wake } from './wake.ts';

/** As many as one source can have in force; the oldest are over. */
const MAX_DISORDER = MAX_NOTICES;
/** Programs that outlive their payloads: sixteen run at once, the rest wait for their turn. */
const MAX_SAVING = 256;
/** From here on it is a fault, and sites back off (mjf.md). */
export const FAULT_CODE = 300;
/** From here on something went wrong; 300 and what refines it only says that there was no work, so that none is lost. */
const LOST_CODE = 400;
const STOPPED: FinalWord = { code: 100, text: 'Shutdown as requested by the host' };
const DONE: FinalWord = { code: 200, text: 'Intended work completed' };
/** What a program of the operator's was to save is not saved. */
const STEP_FAILED_CODE = 710;
/**
 * Who lives so short before the deadline lives at it: his SIGKILL was at 5 s. At the deadline itself the host may end the
 * machine, and what is said then nobody hears any more.
 */
const LAST_MOMENT_MS = 3_000;

/** The words after this payload has ended, with or without a word of its own. */
export function payloadEnded(state: State, record: PayloadRecord, now: Instant): WordsRecord {
  const word = wordOf(record, state.policy, now);
  const episode = lastEpisode(record, state.policy, now);
  const saving = [...new Set([...state.words.saving, ...openHooks(record, episode)])];
  const words = { ...said(state.words, word), saving: saving.slice(0, MAX_SAVING) };
  const isOrderly = word.code < LOST_CODE && !wasKilled(episode) && !isUntold(record) && saving.length <= MAX_SAVING;
  return isOrderly ? words : inDisorder(words, state, now, episode?.noticeIds);
}

/** Somebody who is no living payload has said it: the machine's operator, or what an ended one had still under way. */
export const said = (words: WordsRecord, { code, text }: FinalWord): WordsRecord => ({
  ...words,
  ...(code >= FAULT_CODE && code > (words.worst?.code ?? 0) && { worst: { code, text } }),
  ...(code < 200 && { stopped: { code, text } }),
  ...(code >= 200 && code < FAULT_CODE && { done: { code, text } }),
  due: true,
});

/**
 * A hook step's program has ended after its payload, well or with what the site is to know of it. null: nobody who has ended
 * waits for it. The payload's own word is said already, and a fault counts more than that.
 */
export function savedAfterwards(state: State, run: string, failure: string | null, now: Instant): WordsRecord | null {
  const { words } = state;
  if (!words.saving.includes(run)) {
    // There was no room for its name: of those that fail one may be meant.
    if (failure === null || words.saving.length < MAX_SAVING) return null;
  }
  const left = { ...words, saving: words.saving.filter((each) => each !== run) };
  return failure === null ? left : inDisorder(said(left, { code: STEP_FAILED_CODE, text: failure }), state, now);
}

/** Its own; else what can be told from outside. */
function wordOf(record: PayloadRecord, policy: Policy, now: Instant): FinalWord {
  const { word } = record.spec;
  const { failed } = record;
  const episode = lastEpisode(record, policy, now);
  // A payload may well believe to have ended in order, when what was to save its work has not.
  const isLost = failed !== undefined && episode?.number === failed.episode;
  if (isLost && (word === undefined || word.code < FAULT_CODE)) return { code: STEP_FAILED_CODE, text: failed.detail };
  return word ?? (episode?.marks.some(gotThere) ? STOPPED : DONE);
}

/**
 * The episode that it ends in. Also one that the host has just cancelled: whoever ends within the time that its signal gave
 * it, ends by that; who lives on for longer has outlived the stop, and ends by itself.
 */
function lastEpisode({ spec, episode }: PayloadRecord, policy: Policy, now: Instant): Episode | null {
  if (episode === null || episode.ended === null) return episode;
  const leadMs = stopLeadMs(spec, policy);
  return episode.marks.some((mark) => gotThere(mark) && now.mono - mark.at.mono <= leadMs) ? episode : null;
}

/** A signal that somebody got, as far as is known. */
const gotThere = ({ step, state, missed, uncertain }: StepMark): boolean =>
  hookOf(step.signal) === null &&
  state !== 'skipped' &&
  state !== 'refused' &&
  // Of one that was sent twice, over a crash, the first may have got there.
  (missed !== true || uncertain === true);

/** It did not end by itself: a SIGKILL has reached it, or a step was not to be had. */
const wasKilled = (episode: Episode | null): boolean =>
  episode?.marks.some((mark) => mark.state === 'refused' || (mark.step.signal === 'SIGKILL' && gotThere(mark))) ===
  true;

/** `exec` tells how its payload ended. If it has not (killed, or kept from it), nobody knows whether that was well. */
const isUntold = ({ spec }: PayloadRecord): boolean => spec.deliverer !== undefined && spec.word === undefined;

function openHooks({ spec }: PayloadRecord, episode: Episode | null): readonly string[] {
  if (episode === null) return [];
  const isOpen = ({ step, state, missed, ended }: StepMark): boolean =>
    hookOf(step.signal) !== null && state !== 'skipped' && state !== 'refused' && missed !== true && ended !== true;
  return episode.marks.filter(isOpen).map(({ step }) => stepRunId(spec.id, step));
}

/** Whatever waits for the machine's word waits for all of its payloads, also where another notice is the earlier one. */
function inDisorder(words: WordsRecord, state: State, now: Instant, own: readonly string[] = []): WordsRecord {
  const waiting = collectNotices(state, now).flatMap(({ id, awaits }) => (awaits === undefined ? [] : [id]));
  return { ...words, disorder: [...new Set([...words.disorder, ...own, ...waiting])].slice(-MAX_DISORDER) };
}

/**
 * The message as soon as it is due: nobody lives any more, or the machine goes down, over those who do or with what was said
 * before this boot. The highest code of 300 and more, else that the host has stopped somebody, else that the work is done.
 */
export function lastWord(state: State, phase: Phase, plan: MachinePlan, now: Instant): FinalWord | null {
  const { words, policy } = state;
  const records = Object.values(state.payloads);
  const goesDown = phase === 'stopped' || (phase === 'stopping' && now.wall >= lastMomentMs(plan));
  if (!goesDown && (!words.due || records.some(isAlive))) return null;
  let all = words;
  for (const record of records) {
    // A reservation has not begun: there is nothing yet that could be lost.
    if (!isAlive(record) || isReservation(record.spec)) continue;
    all = said(all, wordOf(record, policy, now));
    all = { ...all, stopped: all.stopped ?? STOPPED };
  }
  return all.worst ?? all.stopped ?? all.done;
}

/** When the message becomes due although somebody may live. */
export function lastWordWake(plan: MachinePlan, now: Instant): Wake {
  const wall = lastMomentMs(plan);
  return { wall: wall > now.wall && Number.isFinite(wall) ? wall : null, mono: null };
}

/** Before the deadline that is acted on (S4.1). */
const lastMomentMs = ({ acting }: MachinePlan): number =>
  (acting?.deadlineMs ?? Number.POSITIVE_INFINITY) - LAST_MOMENT_MS;

/**
 * S5.4: the platform of these may be told to begin. Only where payloads have lived and ended (a machine on which nobody
 * registered may be busy all the same), none of this notice's was lost, and what is still being saved is saved.
 */
export function releasedNotices(
  { payloads, tally, words }: State,
  phase: Phase,
  setting: readonly (Pick<SnapshotNotice, 'id' | 'awaits'> & { readonly confirmed: boolean })[],
): readonly string[] {
  if (phase !== 'stopped' || tally.ended === 0 || Object.values(payloads).some(isAlive)) return [];
  // Ended, but how is not known: a version has seen it that did not ask.
  if (!words.due || words.saving.length > 0) return [];
  return setting
    .filter(({ id, awaits, confirmed }) => awaits !== undefined && confirmed && !words.disorder.includes(id))
    .map(({ id }) => id);
}
