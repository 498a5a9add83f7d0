/** What a source says when a test reads it: its answer, its failure, and the values in them. */
import assert from 'node:assert/strict';
import type { Answer, Reading, Side } from '../../agent/lifetime/types.ts';
import { type ReadContext, type Source, SourceError } from '../../agent/sources/source.ts';

/** All endpoints, however long one of them takes; `fresh: false`: those that are due. */
export async function read(source: Source, context: Partial<ReadContext> = {}): Promise<Answer> {
  const result = await source.read({ signal: new AbortController().signal, fresh: true, patient: true, ...context });
  if (result.outcome !== 'answer') assert.fail(result.detail);
  return result.answer;
}

/** Rejects with anything that is no SourceError, and where there is none. */
export async function failure(promise: Promise<unknown>): Promise<SourceError> {
  const error = await promise.then(
    (value) => assert.fail(`expected a SourceError, got ${JSON.stringify(value)}`),
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof SourceError)) throw error;
  return error;
}

export const codeOf = async (promise: Promise<unknown>): Promise<string> => (await failure(promise)).code;

/** What is present, by key. */
export function values(answer: Answer, side: Side = 'machine'): Readonly<Record<string, string>> {
  const keys = Object.entries(answer[side]?.keys ?? {});
  return Object.fromEntries(keys.flatMap(([key, each]) => (each.is === 'present' ? [[key, each.value]] : [])));
}

export const present = (value: string): Reading<string> => ({ is: 'present', value });
