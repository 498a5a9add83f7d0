/** What payloads have to say in the end, from when it is said until they end (words.ts has what comes of it, SEMANTICS S5.3). */
import { own } from './held.ts';
import { log } from './log.ts';
import { isAlive } from './restart.ts';
import type { PayloadRecord, State, StepMark } from './state.ts';
import { stepRunId } from './step-run.ts';
import type { Effect, Input, Instant, PayloadSpec } from './types.ts';
import { said, savedAfterwards } from './words.ts';

/**
 * What the payload itself says counts before what is read from its exit code, whichever comes first. Of a unit that is down
 * its end has been told already: a word that comes later is added to it.
 */
export function finalWord(
  state: State,
  { id, word }: Extract<Input, { readonly type: 'final_word' }>,
  effects: Effect[],
): State {
  const record = id === undefined ? undefined : own(state.payloads, id);
  if (id !== undefined && record === undefined) return state;
  const before = record?.spec.word;
  if (before?.by === 'payload' && word.by === 'exit') return state;
  if (before !== undefined && before.code === word.code && before.text === word.text && before.by === word.by)
    return state;
  const fields = { ...(id !== undefined && { payload: id }), code: word.code, by: word.by };
  effects.push(
    log('info', 'final_word', fields, `${record?.spec.name ?? 'the operator'} says ${word.code} to the site`),
  );
  const next =
    record === undefined
      ? state
      : { ...state, payloads: { ...state.payloads, [record.spec.id]: { ...record, spec: { ...record.spec, word } } } };
  return record !== undefined && isAlive(record) ? next : { ...next, words: said(state.words, word) };
}

/**
 * The program of a hook step has ended; `failure`: not well. It counts when the payload ends, in whichever way its stop goes
 * on; where that has ended before its hook did, the site is told now.
 */
export function stepEnded(
  state: State,
  { id, step }: Extract<Input, { readonly type: 'step_ended' | 'step_failed' }>,
  failure: string | null,
  now: Instant,
): State {
  const record = own(state.payloads, id);
  const isMeant = ({ step: each, ended }: StepMark): boolean =>
    each.index === step.index && each.signal === step.signal && ended !== true;
  const { episode } = record ?? {};
  if (record === undefined || !isAlive(record) || episode?.number !== step.episode || !episode.marks.some(isMeant)) {
    const words = savedAfterwards(state, stepRunId(id, step), failure, now);
    return words === null ? state : { ...state, words };
  }
  const marks = episode.marks.map((mark) => (isMeant(mark) ? { ...mark, ended: true as const } : mark));
  const isNew = failure !== null && record.failed?.episode !== step.episode;
  const next: PayloadRecord = {
    ...record,
    episode: { ...episode, marks },
    ...(isNew && { failed: { episode: step.episode, detail: failure } }),
  };
  return { ...state, payloads: { ...state.payloads, [id]: next } };
}

/** What the same payload has said under another row, where it has not said another thing since. */
export function withSaid(spec: PayloadSpec, { canTerminate, word }: PayloadSpec): PayloadSpec {
  const isOwn = spec.word !== undefined && (spec.word.by === 'payload' || word?.by !== 'payload');
  return {
    ...spec,
    ...(canTerminate !== undefined && spec.canTerminate === undefined && { canTerminate }),
    ...(word !== undefined && !isOwn && { word }),
  };
}
