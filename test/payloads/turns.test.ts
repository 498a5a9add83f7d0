/** Whose signals go out when: nobody's payloads hold up those of the others (SEMANTICS S3.4). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PayloadSpec, StepResultReport } from '../../agent/lifetime/types.ts';
import type { SignalEffect } from '../../agent/payloads/delivery.ts';
import { openTurns } from '../../agent/payloads/turns.ts';

function effect(uid: number, id: string): SignalEffect {
  const spec: PayloadSpec = {
    id,
    name: id,
    uid,
    target: { kind: 'process', leader: { pid: 1_000, startTicks: 1 }, group: false },
    registeredMs: 0,
  };
  return { type: 'signal', payload: spec, step: { episode: 1, index: 0, signal: 'SIGTERM' }, to: 'leader' };
}

/** Each payload takes so long; as delivery.ts, none is begun after the bound but the first. */
function played(costMs: number) {
  let mono = 0;
  const sent: string[] = [];
  const bounds: number[] = [];
  let resolveAll = () => {};
  const turns = openTurns({
    now: () => ({ wall: mono, mono }),
    deliver(signals, untilMono) {
      bounds.push(untilMono - mono);
      const results: StepResultReport[] = [];
      for (const { payload, step } of signals) {
        if (results.length > 0 && mono > untilMono) break;
        mono += costMs;
        sent.push(payload.id);
        results.push({ id: payload.id, step, outcome: 'delivered', at: { wall: mono, mono } });
      }
      return results;
    },
    done: () => resolveAll(),
  });
  const all = (count: number) =>
    new Promise<void>((resolve) => {
      resolveAll = () => sent.length === count && resolve();
      resolveAll();
    });
  return { turns, sent, bounds, all };
}

test('what can be done in one go is done at once', () => {
  const { turns, sent } = played(0.1);
  turns.take(Array.from({ length: 1_000 }, (_, n) => effect(1, `p${n}`)));
  assert.equal(sent.length, 1_000);
});

test('a thousand of one owner do not come before the one of another, and all get theirs once', async () => {
  const { turns, sent, all } = played(20);
  const mine = Array.from({ length: 100 }, (_, n) => effect(1, `p${n}`));
  turns.take([...mine, effect(2, 'other')]);
  assert.ok(sent.indexOf('other') <= 4, `after ${sent.indexOf('other')}`);
  await all(101);
  assert.deepEqual([...sent].sort(), [...mine.map(({ payload }) => payload.id), 'other'].sort());
});

test('who comes while another’s go on is served at once', async () => {
  const { turns, sent, all } = played(20);
  turns.take(Array.from({ length: 100 }, (_, n) => effect(1, `p${n}`)));
  assert.ok(sent.length < 100);
  const before = sent.length;
  turns.take([effect(2, 'late')]);
  assert.equal(sent[before], 'late');
  await all(101);
});
