/** What holds in every history of the operator's programs, of units that are started again, and of switching off. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { State } from '../../agent/lifetime/state.ts';
import type { HookRun, NoticeKind, Policy } from '../../agent/lifetime/types.ts';
import { MINUTE, SECOND } from './history.ts';
import { anything, live, type Move, type PayloadMove } from './moves.ts';

/** A taste; .ci/run takes more of them, and to hunt there is `MJF_PROPERTY_RUNS=10000`. */
const RUNS = Number(process.env['MJF_PROPERTY_RUNS'] ?? 30);
const forAll = (check: (moves: readonly (Move | PayloadMove)[]) => void): void =>
  fc.assert(fc.property(anything, check), { numRuns: RUNS });

const PHASES: readonly string[] = ['running', 'draining', 'stopping', 'stopped'];
const OFF: Partial<Policy> = { whenDone: 'poweroff', atDeadline: 'poweroff', idleMs: 2 * MINUTE };

describe('in every history', () => {
  test('each run begins once in its boot, once more after a crash at most, and says so', () => {
    forAll((moves) => {
      let seen = new Map<string, { times: number; life: number }>();
      let life = 0;
      live(moves, ({ before, input, now, result }) => {
        if (input.type === 'configure') life += 1;
        if (isFresh(before)) seen = new Map();
        for (const effect of result.effects) {
          // Those of steps are counted with the steps (properties.test.ts).
          if (effect.type !== 'hook' || effect.run.event === 'step') continue;
          const { id, repeated } = effect.run;
          const known = seen.get(id);
          assert.equal(repeated, known !== undefined, `${id} is marked as what it is`);
          assert.ok(known === undefined || (known.times === 1 && known.life < life), `${id} again`);
          seen.set(id, { times: (known?.times ?? 0) + 1, life });
          assert.ok(effect.run.byMs === null || effect.run.byMs > now.wall);
        }
      });
    });
  });

  test('whoever follows the programs knows the phase: each is told on the way down, and `cancelled` on the way up', () => {
    forAll((moves) => {
      let told = 0;
      live(moves, ({ before, result: { effects, snapshot } }) => {
        if (isFresh(before)) told = 0;
        const actual = PHASES.indexOf(snapshot.phase);
        for (const run of fresh(effects)) {
          const rank = PHASES.indexOf(run.event);
          if (run.event === 'cancelled') {
            assert.ok(actual < told, 'nothing was cancelled');
            told = actual;
          } else if (rank > 0) {
            assert.equal(rank, told + 1, `${run.event} after ${PHASES[told]}`);
            told = rank;
          }
        }
        // `stopped` before the deadline may become `stopping` by a payload that comes: nobody is told that.
        const isHeld = told === 3 && actual === 2;
        assert.ok(told === actual || isHeld, `${snapshot.phase}, but ${PHASES[told]} was told`);
      });
    });
  });

  test('every notice in force was told as it stands now, but for 30 s, or less than a minute ago', () => {
    forAll((moves) => {
      let told = new Map<string, { kind: NoticeKind; deadlineMs: number | null; mono: number }>();
      let shown = new Map<string, number | null>();
      live(moves, ({ before, input, now: { mono }, result: { effects, snapshot } }) => {
        if (isFresh(before)) told = new Map();
        // The clock was set: times that we have reckoned move silently.
        if (input.type === 'together')
          for (const { id, deadlineMs } of snapshot.notices) move(id, (deadlineMs ?? 0) - (shown.get(id) ?? 0));
        shown = new Map(snapshot.notices.map(({ id, deadlineMs }) => [id, deadlineMs]));
        for (const { notice } of fresh(effects)) {
          if (!notice) continue;
          const now = snapshot.notices.find(({ id }) => id === notice.id);
          assert.deepEqual([now?.kind, now?.deadlineMs], [notice.kind, notice.deadlineMs]);
          told.set(notice.id, { kind: notice.kind, deadlineMs: notice.deadlineMs, mono });
        }
        for (const { id, kind, deadlineMs, expired, ignored } of snapshot.notices) {
          const last = told.get(id);
          if (expired || ignored || last === undefined) continue;
          const earlierMs =
            last.deadlineMs === deadlineMs ? 0 : (last.deadlineMs ?? Infinity) - (deadlineMs ?? Infinity);
          if (last.kind === kind && Math.abs(earlierMs) <= 30 * SECOND) continue;
          assert.ok(earlierMs <= MINUTE && mono < last.mono + MINUTE, `${id} has changed, and nobody was told`);
        }
        function move(id: string, byMs: number): void {
          const last = told.get(id);
          if (last && last.deadlineMs !== null) told.set(id, { ...last, deadlineMs: last.deadlineMs + byMs });
        }
      });
    });
  });

  test('S3.6 no unit of ours stays down without a reason, and none is started that we have not stopped', () => {
    forAll((moves) => {
      const stops = new Map<string, number>();
      const starts = new Map<string, number>();
      let life = 0;
      const startedIn = new Map<string, number>();
      live(moves, ({ input, now, result }) => {
        if (input.type === 'configure') life += 1;
        for (const effect of result.effects) {
          if (effect.type === 'signal' && effect.payload.target.kind === 'unit') {
            const { id } = effect.payload;
            stops.set(id, (stops.get(id) ?? 0) + 1);
          }
          if (effect.type !== 'start_units') continue;
          const { payload: id } = effect;
          const row = result.payloads.find(({ spec }) => spec.id === id);
          assert.notEqual(row?.spec.restartOnCancel, false);
          assert.notEqual(row?.state, 'stopped', 'what is being started is not down');
          // A second one without a stop in between is the repetition after a crash, and nothing else.
          const isRepeat = (stops.get(id) ?? 0) === 0;
          if (isRepeat) assert.ok((startedIn.get(id) ?? life) < life && starts.get(id) === 1, `${id} is started again`);
          starts.set(id, isRepeat ? 2 : 1);
          startedIn.set(id, life);
          stops.set(id, 0);
        }
        for (const { spec, state, deadlineMs, stopAtMs } of result.payloads) {
          if (state !== 'stopped') continue;
          assert.ok(deadlineMs !== null && (stopAtMs ?? 0) <= now.wall + 10 * MINUTE, `${spec.id} stays down`);
        }
      });
    });
  });

  test('S3.7, S5.2 the machine is not switched off over anybody’s head', () => {
    forAll((moves) => {
      live(
        // What was signalled is counted monotonically, and rows tell wall time.
        moves.filter(({ does }) => does !== 'clock'),
        ({ now, result: { powerOff, payloads, snapshot, state } }) => {
          if (powerOff === null) return;
          const alive = payloads.filter(({ state }) => state !== 'stopped');
          if (powerOff === 'done') {
            assert.deepEqual(alive, []);
            assert.ok(snapshot.payloads.stopped > 0, 'nobody has lived');
            return;
          }
          assert.ok(snapshot.localDeadlineMs !== null && now.wall >= snapshot.localDeadlineMs);
          for (const { plan, spec } of alive) {
            const open = plan.filter(({ state }) => state === 'planned' || state === 'pending');
            // Whoever does not say what he did is not waited for longer than this.
            const isOver = open.every(({ dueMs }) => now.wall >= dueMs + 30 * SECOND);
            const { pastSinceMono, payloads: records } = state;
            const isLate = (records[spec.id]?.registeredMono ?? 0) > (pastSinceMono ?? now.mono);
            const isForgone = isLate && now.mono >= (pastSinceMono ?? now.mono) + MINUTE;
            assert.ok(isOver || isForgone, `${spec.id} has steps before it`);
          }
        },
        () => {},
        OFF,
      );
    });
  });

  test('nothing that is due waits for somebody to ask: one tick more does nothing', () => {
    forAll((moves) => {
      live(
        moves,
        () => {},
        (h) => {
          const before = h.powerOff();
          const { sent, ran, started } = h;
          const counted = [sent.length, ran.length, started.length];
          h.send({ type: 'tick' });
          assert.deepEqual([h.sent.length, h.ran.length, h.started.length], counted);
          assert.equal(h.powerOff(), before);
        },
        OFF,
      );
    });
  });
});

/** The first boot, or another one, as long as nothing was told in it. */
const isFresh = ({ hooks }: State): boolean => hooks.runs === 0;

/** The runs of the machine's news that begin now, in their order. */
function fresh(effects: readonly { readonly type: string; readonly run?: HookRun }[]): readonly HookRun[] {
  return effects.flatMap(({ run }) => (run !== undefined && run.event !== 'step' && !run.repeated ? [run] : []));
}
