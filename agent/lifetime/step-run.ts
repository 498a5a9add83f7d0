/** The name of a hook step's run (HookRun.id): `p-ab12/1/0`, of its payload, episode and step. */
import type { StepRef } from './types.ts';

export const stepRunId = (payload: string, { episode, index }: Pick<StepRef, 'episode' | 'index'>): string =>
  `${payload}/${episode}/${index}`;

/** Read back by whoever has nothing but the name, and the file that was run. null: it is no such name. */
export function stepOfRun(run: string, file: string): { readonly id: string; readonly step: StepRef } | null {
  const [, id, episode, index] = /^(.+)\/(\d{1,9})\/(\d{1,9})$/s.exec(run) ?? [];
  if (id === undefined) return null;
  return { id, step: { episode: Number(episode), index: Number(index), signal: `hook:${file}` } };
}
