/** A plausible Snapshot for consumers' tests, made by the heart itself. */
import { initialState } from '../../agent/lifetime/state.ts';
import { step } from '../../agent/lifetime/step.ts';
import type { Snapshot, SnapshotPayload } from '../../agent/lifetime/types.ts';

export const NOON = 1_766_440_000_000;

/** The truth after a directory gave these keys at `NOON`. */
export function snapshotOf(keys: {
  machine?: Readonly<Record<string, string>>;
  job?: Readonly<Record<string, string>>;
}): {
  readonly snapshot: Snapshot;
  readonly payloads: readonly SnapshotPayload[];
} {
  const now = { wall: NOON, mono: 1_000_000 };
  const reading = (side: Readonly<Record<string, string>> = {}) => ({
    channel: 'dev:1',
    complete: true,
    keys: Object.fromEntries(Object.entries(side).map(([key, value]) => [key, { is: 'present' as const, value }])),
  });
  const boot = NOON - 1_000_000;
  const configured = step(
    initialState(boot, boot),
    {
      type: 'configure',
      policy: initialState(boot, boot).policy,
      sources: [{ name: 'directory', rank: 'directory', pollMs: 1_000 }],
    },
    now,
  );
  return step(
    configured.state,
    {
      type: 'observation',
      observation: {
        source: 'directory',
        outcome: 'answer',
        answer: { machine: reading(keys.machine), job: reading(keys.job) },
      },
    },
    now,
  );
}
