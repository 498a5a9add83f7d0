/** What a re-read configuration means for the payloads that were found by the one before. Pure. */
import type { ConfiguredPayload } from '../config/types.ts';
import type { PayloadChange } from '../lifetime/types.ts';

/** As `payload_updated` takes it. */
export interface Changed {
  readonly change: PayloadChange;
  /** Not stated any more: what `[stop]` says counts again. */
  readonly takenBack: readonly ('graceMs' | 'steps')[];
}

export interface PayloadChanges {
  /** Origins whose payloads are to be deregistered. Where the name is still there, they are found again by the new words. */
  readonly removed: readonly string[];
  /** What changes in place, by origin: an escalation that has begun goes on. */
  readonly changed: ReadonlyMap<string, Changed>;
}

/** `removed`: no longer configured, or found in another way. */
export function payloadChanges(
  before: readonly ConfiguredPayload[],
  after: readonly ConfiguredPayload[],
): PayloadChanges {
  const removed: string[] = [];
  const changed = new Map<string, Changed>();
  for (const old of before) {
    const now = after.find(({ name }) => name === old.name);
    if (now === undefined || identityOf(now) !== identityOf(old)) {
      removed.push(old.name);
      continue;
    }
    const change: PayloadChange = {
      ...(now.graceMs !== null && now.graceMs !== old.graceMs ? { graceMs: now.graceMs } : {}),
      ...(now.steps !== null && !isSame(now.steps, old.steps) ? { steps: now.steps } : {}),
    };
    const takenBack = (['graceMs', 'steps'] as const).filter((key) => old[key] !== null && now[key] === null);
    if (Object.keys(change).length + takenBack.length > 0) changed.set(old.name, { change, takenBack });
  }
  return { removed, changed };
}

/** Only the names, as in `payloadChanges`. */
export function removed(before: readonly ConfiguredPayload[], after: readonly ConfiguredPayload[]): readonly string[] {
  return payloadChanges(before, after).removed;
}

function identityOf({ find, group, restartOnCancel }: ConfiguredPayload): string {
  return JSON.stringify([
    find.by === 'match' ? { ...find, command: find.command.source } : find,
    group,
    restartOnCancel,
  ]);
}

const isSame = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other);
