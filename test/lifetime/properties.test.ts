/** What holds in every history (fast-check; a failure prints its seed and the shortest history that shows it). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { State } from '../../agent/lifetime/state.ts';
import { step } from '../../agent/lifetime/step.ts';
import { hookOf, type Instant, type Phase, type Snapshot } from '../../agent/lifetime/types.ts';
import { deepFreeze, history, SECOND, type Sent } from './history.ts';
import { model } from './model.ts';
import { anything, LENGTH, live, type Move, move, type PayloadMove, play } from './moves.ts';

/** A taste; .ci/run takes more of them, and to hunt there is `MJF_PROPERTY_RUNS=10000`. */
const RUNS = Number(process.env['MJF_PROPERTY_RUNS'] ?? 40);

const forAll = (check: (moves: readonly (Move | PayloadMove)[]) => void): void =>
  fc.assert(fc.property(anything, check), { numRuns: RUNS });

describe('in every history', () => {
  test('promise 1, S1.2, S1.6: a deadline is never lost, only a good answer clears it, and the earliest wins', () => {
    fc.assert(
      fc.property(fc.array(move, LENGTH), (moves) => {
        const h = history();
        const known = model();
        for (const each of moves) {
          play(h, known, each);
          assert.equal(h.snapshot().deadlineMs, known.deadline(h.boot()), `after ${JSON.stringify(each)}`);
        }
      }),
      { numRuns: 2 * RUNS },
    );
  });

  test('S3.1: phase is a function of the Snapshot and the time, and changes exactly when the Snapshot says', () => {
    forAll((moves) => {
      live(moves, ({ now, result: { snapshot } }) => {
        assert.equal(snapshot.phase, phaseOf(snapshot, now.wall));
        assert.equal(snapshot.overdue, snapshot.localDeadlineMs !== null && now.wall >= snapshot.localDeadlineMs);
        if (snapshot.nextChangeMs !== null) assert.ok(snapshot.nextChangeMs > now.wall);
      });
    });
  });

  test('S2.4: shutdowntime and shutdowntime_job both equal the deadline, or both are absent', () => {
    forAll((moves) => {
      live(moves, ({ result: { snapshot } }) => {
        const { deadlineMs, machine, job } = snapshot;
        const wanted = deadlineMs === null ? undefined : String(Math.floor(deadlineMs / 1000));
        assert.deepEqual([machine['shutdowntime']?.value, job['shutdowntime_job']?.value], [wanted, wanted]);
      });
    });
  });

  test('S3.6: each step at most once per payload and episode, and once more only after a crash in between', () => {
    forAll((moves) => {
      const taken = new Map<string, { times: number; life: number }>();
      let life = 0;
      const take = (id: string, { episode, index, signal }: Sent['step']): void => {
        const name = `${id} ${episode} ${index} ${signal}`;
        const before = taken.get(name);
        assert.ok(before === undefined || (before.times === 1 && before.life < life), `${name} again`);
        taken.set(name, { times: (before?.times ?? 0) + 1, life });
      };
      live(moves, ({ input, result }) => {
        if (input.type === 'configure') life += 1;
        // By exec's hand it is taken as well: the daemon must not take it again. Its numbers count the signals alone.
        if (input.type === 'steps_done')
          for (const { id, step: ref } of input.results) {
            if (result.state.payloads[id]?.delivery !== 'exec' || hookOf(ref.signal) !== null) continue;
            const plan = result.payloads.find(({ spec }) => spec.id === id)?.plan ?? [];
            const signals = plan.filter(({ step: { signal } }) => hookOf(signal) === null);
            take(id, signals[ref.index]?.step ?? ref);
          }
        for (const effect of result.effects) {
          if (effect.type === 'signal') take(effect.payload.id, effect.step);
          if (effect.type === 'hook' && effect.run.step) take(effect.run.payload?.id ?? '', effect.run.step);
        }
      });
    });
  });

  test('S3.5: no SIGKILL before or in one tick with the SIGTERM, nor before its share of the window is over', () => {
    forAll((moves) => {
      const anchors = new Map<string, Instant>();
      live(moves, ({ input, now, result }) => {
        if (input.type === 'steps_done')
          for (const { id, step: ref, at } of input.results)
            if (result.state.payloads[id]?.delivery === 'exec' && isAnchor(ref.signal))
              anchors.set(`${id} ${ref.episode}`, at);
        const signals = result.effects.filter((effect) => effect.type === 'signal');
        for (const { payload: spec, step: ref } of signals) {
          const name = `${spec.id} ${ref.episode}`;
          if (isAnchor(ref.signal)) anchors.set(name, now);
          if (ref.signal !== 'SIGKILL') continue;
          assert.equal(signals.filter((other) => other.payload.id === spec.id).length, 1, 'shares its tick');
          const row = result.payloads.find((each) => each.spec.id === spec.id);
          if (!row?.plan.some(({ step: { signal } }) => isAnchor(signal))) continue;
          const anchor = anchors.get(name);
          assert.ok(anchor !== undefined, 'nothing was sent before it');
          const windowMs = (row?.deadlineMs ?? 0) - anchor.wall;
          assert.ok(now.mono - anchor.mono >= (windowMs > 0 ? 0.8 * windowMs : 30 * SECOND) - 1, 'too early');
        }
      });
    });
  });

  test('promise 4: nobody is signalled before his lead begins, and at the deadline nobody is unsignalled', () => {
    forAll((moves) => {
      const sent = new Set<string>();
      live(
        moves,
        ({ now, result }) => {
          for (const effect of result.effects) {
            if (effect.type !== 'signal' || !isAnchor(effect.step.signal)) continue;
            const { episode, index } = effect.step;
            const name = `${effect.payload.id} ${episode} ${index}`;
            // A repeat after a crash belongs to where the first one stood; the deadline may have moved a little since.
            if (sent.has(name)) continue;
            sent.add(name);
            const row = result.payloads.find(({ spec }) => spec.id === effect.payload.id);
            const leadMs = effect.payload.graceMs ?? result.state.policy.graceMs;
            assert.ok(now.wall >= (row?.deadlineMs ?? 0) - leadMs, 'too early');
          }
        },
        (h) => {
          for (const { spec, deadlineMs, plan, state } of h.result().payloads) {
            if (deadlineMs === null || h.now().wall < deadlineMs || h.state().payloads[spec.id]?.delivery === 'exec')
              continue;
            if (state === 'stopped') continue;
            const unsent = plan.filter((each) => isAnchor(each.step.signal) && each.state === 'planned');
            assert.deepEqual(unsent, [], `${spec.id} is alive at the deadline and was never asked to stop`);
          }
        },
      );
    });
  });

  test('step is pure: frozen inputs, the same output twice', () => {
    forAll((moves) => {
      live(moves, ({ before, input, now, result }) => {
        deepFreeze(now);
        assert.deepEqual(step(before, input, now), result);
      });
    });
  });

  test('the state survives a JSON round trip, and goes on the same from there', () => {
    forAll((moves) => {
      live(moves, ({ before, input, now, result }) => {
        const copy: State = JSON.parse(JSON.stringify(before));
        assert.deepEqual(copy, before);
        const again = step(copy, input, now);
        assert.deepEqual(again.state, result.state);
        assert.deepEqual(again.snapshot, result.snapshot);
      });
    });
  });

  test('the effects alone are enough to restore from: no restart in the same boot changes what is true', () => {
    forAll((moves) => {
      const h = live(moves, () => {});
      const before = h.snapshot();
      const rows = h.result().payloads;
      h.restart();
      const marks = <T extends { stale: boolean }>(list: readonly T[]) =>
        list.map((each) => ({ ...each, stale: false }));
      assert.deepEqual([h.phase(), h.snapshot().deadlineMs], [before.phase, before.deadlineMs]);
      assert.deepEqual(marks(h.snapshot().notices), marks(before.notices));
      assert.deepEqual(
        h.result().payloads.map(({ spec, deadlineMs }) => [spec, deadlineMs]),
        rows.map(({ spec, deadlineMs }) => [spec, deadlineMs]),
      );
    });
  });
});

/** Of the lists above: the signal from which the window is measured. */
const isAnchor = (signal: string): boolean => signal === 'SIGTERM' || signal === 'SIGINT';

function phaseOf({ localDeadlineMs, stopAtMs, drainAtMs, payloads }: Snapshot, wallMs: number): Phase {
  const reached = (at: number | null): boolean => at !== null && wallMs >= at;
  if (reached(localDeadlineMs)) return 'stopped';
  if (reached(stopAtMs)) return payloads.running + payloads.stopping > 0 ? 'stopping' : 'stopped';
  return reached(drainAtMs) ? 'draining' : 'running';
}
