/** What holds in every history of the answer to the site, of last words, and of platforms that wait. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { State } from '../../agent/lifetime/state.ts';
import type { Input, Instant, StepResult } from '../../agent/lifetime/types.ts';
import { MINUTE, SECOND } from './history.ts';
import { anything, live, type Move, type PayloadMove } from './moves.ts';

/** A taste; .ci/run takes more of them, and to hunt there is `MJF_PROPERTY_RUNS=10000`. */
const RUNS = Number(process.env['MJF_PROPERTY_RUNS'] ?? 12);

interface Seen {
  readonly before: State;
  readonly input: Input;
  readonly now: Instant;
  readonly result: StepResult<State>;
  /** Another boot begins with this step. */
  readonly isBoot: boolean;
  readonly alive: StepResult<State>['payloads'];
}

function forAll(watch: () => (seen: Seen) => void): void {
  const check = (moves: readonly (Move | PayloadMove)[]): void => {
    const onStep = watch();
    let boot = 1;
    live(moves, ({ before, input, now, result, boots }) => {
      const isBoot = boots !== boot;
      boot = boots;
      const alive = result.payloads.filter(({ state }) => state !== 'stopped');
      onStep({ before, input, now, result, isBoot, alive });
    });
  };
  fc.assert(fc.property(anything, check), { numRuns: RUNS });
}

const canEnd = (now: Instant, { spec: { canTerminate } }: StepResult<State>['payloads'][number]): boolean =>
  canTerminate !== undefined && (canTerminate.now || (canTerminate.atMs !== null && canTerminate.atMs <= now.wall));

describe('in every history', () => {
  test('S5.2 there is no answer as long as nobody has lived in this boot, and always one afterwards', () => {
    forAll(() => {
      let hasLived = false;
      return ({ isBoot, alive, result }) => {
        hasLived = (hasLived && !isBoot) || alive.length > 0;
        assert.equal(result.snapshot.canTerminate !== null, hasLived);
      };
    });
  });

  test('S5.1 it can be terminated now exactly when nobody lives who does not say so', () => {
    forAll(() => ({ alive, now, result: { snapshot, wakeAt } }) => {
      const { canTerminate } = snapshot;
      if (canTerminate === null) return;
      assert.equal(
        canTerminate.now,
        alive.every((row) => canEnd(now, row)),
      );
      const { atMs, mustNotUntilMs } = canTerminate;
      for (const ms of [atMs, mustNotUntilMs]) {
        assert.ok(ms === null || (!canTerminate.now && ms > now.wall), 'only what is ahead');
        assert.ok(ms === null || (wakeAt.wall !== null && wakeAt.wall <= ms), 'it changes by itself');
      }
    });
  });

  test('S5.3 the message is a fault exactly when somebody who ended, or is ended, had one', () => {
    forAll(() => {
      let possible = false;
      let certain = false;
      return ({ before, input, result: { lastWord, payloads } }) => {
        if (input.type === 'step_failed' || (input.type === 'final_word' && input.word.code >= 300)) possible = true;
        if (input.type === 'payload_gone') {
          const was = before.payloads[input.id];
          const isAlive = payloads.some(({ spec, state }) => spec.id === input.id && state !== 'stopped');
          const hasEnded = was !== undefined && was.restart?.down !== true && !isAlive;
          if (hasEnded && (was.spec.word?.code ?? 0) >= 300) certain = true;
        }
        if (lastWord === null) return;
        if (lastWord.code >= 300) assert.ok(possible, 'nobody has failed');
        if (certain) assert.ok(lastWord.code >= 300, 'somebody has');
      };
    });
  });

  test('S5.3 it is due when nobody lives, or the machine goes down, and only where somebody has lived', () => {
    forAll(() => {
      let hasLived = false;
      return ({ alive, now, result: { lastWord, snapshot } }) => {
        hasLived ||= alive.length > 0;
        if (lastWord === null) return;
        const { phase, localDeadlineMs } = snapshot;
        const isLast = localDeadlineMs !== null && now.wall >= localDeadlineMs - 3 * SECOND;
        assert.ok(hasLived && (alive.length === 0 || phase === 'stopped' || isLast));
      };
    });
  });

  test('S5.4 no platform is told to begin over anybody’s head, or after work was lost', () => {
    forAll(() => {
      const lost = new Set<string>();
      return ({ before, input, alive, result: { released, snapshot, payloads } }) => {
        const waiting = snapshot.notices.filter(({ awaits }) => awaits !== undefined);
        if (input.type === 'payload_gone') {
          const was = before.payloads[input.id];
          const isAlive = payloads.some(({ spec, state }) => spec.id === input.id && state !== 'stopped');
          const hasEnded = was !== undefined && was.restart?.down !== true && !isAlive;
          if (hasEnded && (was.spec.word?.code ?? 0) >= 400) for (const { id } of waiting) lost.add(id);
        }
        if (released.length === 0) return;
        assert.deepEqual([alive, snapshot.phase], [[], 'stopped']);
        assert.ok(snapshot.payloads.stopped > 0, 'nobody has lived');
        for (const id of released) {
          assert.ok(waiting.some((notice) => notice.id === id && !notice.expired && !notice.ignored));
          assert.ok(!lost.has(id), `${id} is released, and a payload of its was lost`);
        }
      };
    });
  });

  test('can_terminate is told by turns true and false, at most once a minute, and in the end as it is', () => {
    forAll(() => {
      let told = false;
      let toldMono = Number.NEGATIVE_INFINITY;
      return ({ isBoot, now: { mono }, result: { effects, snapshot, state } }) => {
        if (isBoot) [told, toldMono] = [false, Number.NEGATIVE_INFINITY];
        for (const effect of effects) {
          if (effect.type !== 'hook' || effect.run.event !== 'can_terminate' || effect.run.repeated) continue;
          assert.equal(effect.run.canTerminate, !told);
          assert.ok(mono >= toldMono + MINUTE);
          [told, toldMono] = [!told, mono];
        }
        const isBusy = state.hooks.open.some(({ event }) => event === 'can_terminate');
        const isSo = snapshot.canTerminate?.now === true;
        assert.ok(told === isSo || isBusy || mono < toldMono + MINUTE, `${isSo}, and nobody was told`);
      };
    });
  });
});
