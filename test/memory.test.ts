/** What a former run of the agent wrote comes back whole, also where it was killed while it wrote its first lines (S4.1). */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { step } from '../agent/lifetime/step.ts';
import type { Input, Instant } from '../agent/lifetime/types.ts';
import { openMemory } from '../agent/memory.ts';
import { BOOT, DIRECTORY, HOUR, MINUTE, payload, START } from './lifetime/history.ts';

const log = pino({ level: 'silent' });
const NOW: Instant = { wall: START, mono: 7_200_000 };

function machine(t: TestContext) {
  const base = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-memory-'));
  t.after(() => fs.rmSync(base, { recursive: true, force: true }));
  const config = { journalDir: path.join(base, 'journal'), stateDir: path.join(base, 'state') };
  const journalFile = path.join(config.journalDir, 'journal.log');
  return {
    journalFile,
    /** One run of the agent that hears `inputs`, and is killed once the state file is written. */
    async run(bootId: string, { now = NOW, bootWallMs = BOOT, inputs = [] as readonly Input[] } = {}) {
      const identity = { machineId: 'machine', bootId, bootWallMs: () => bootWallMs };
      const memory = openMemory({ config, log }, identity, now, bootWallMs, assert.fail);
      let { state } = memory;
      for (const input of inputs) {
        const result = step(state, input, now);
        state = result.state;
        memory.journal.put(result.effects.filter((effect) => effect.type === 'persist'));
      }
      if (inputs.length > 0) memory.save(state);
      await memory.flush();
      memory.journal.close();
      return state;
    },
  };
}

const notice = (id: string): Input => ({
  type: 'operator_notice',
  id,
  notice: { kind: 'shutdown', deadlineMs: START + 5 * HOUR, reason: 'patch' },
});

for (const [when, bootId, keep] of [
  ['of the next boot', 'boot-2', 1],
  ['of the same boot, whose journal in tmpfs was lost', 'boot-1', 1],
  ['of the next boot, with a first line of it', 'boot-2', 2],
] as const)
  test(`promise 1: killed at the first writing of the journal ${when}, no notice is lost`, async (t) => {
    const { run, journalFile } = machine(t);
    await run('boot-1', { inputs: [notice('1')] });
    fs.rmSync(journalFile);
    await run(bootId);
    const lines = fs.readFileSync(journalFile, 'utf8').split('\n');
    assert.ok(lines.length > keep + 1, 'nothing would be cut off');
    fs.writeFileSync(journalFile, `${lines.slice(0, keep).join('\n')}\n`);
    for (let start = 0; start < 3; start += 1)
      assert.deepEqual(Object.keys((await run(bootId)).operator.notices), ['1'], `start ${start}`);
  });

test('promise 3: payloads of a journal that has lost the operator’s part come back, and the notices of the state file', async (t) => {
  const { run, journalFile } = machine(t);
  await run('boot-1', { inputs: [notice('1'), { type: 'payload_registered', spec: payload('p') }] });
  const lines = fs.readFileSync(journalFile, 'utf8').split('\n');
  const others = lines.filter((line) => !line.includes('"operator"'));
  assert.ok(others.length < lines.length && others.some((line) => line.includes('payload/p')));
  fs.writeFileSync(journalFile, others.join('\n'));
  const state = await run('boot-1');
  assert.deepEqual([Object.keys(state.operator.notices), Object.keys(state.payloads)], [['1'], ['p']]);
});

test('S1.2 the first boot that was corrected with the clock is the same after a restart: a wall limit counts from there', async (t) => {
  const { run } = machine(t);
  const limit: Input = {
    type: 'observation',
    observation: {
      source: 'directory',
      outcome: 'answer',
      answer: {
        job: { channel: 'dev:1', complete: true, keys: { wall_limit_secs: { is: 'present', value: '36000' } } },
      },
    },
  };
  const first = await run('boot-1');
  const stepped = { now: { wall: START + HOUR, mono: NOW.mono }, bootWallMs: BOOT + HOUR };
  await run('boot-1', {
    ...stepped,
    bootWallMs: BOOT,
    inputs: [
      { type: 'configure', policy: first.policy, sources: [DIRECTORY] },
      limit,
      { type: 'clock_changed', bootWallMs: stepped.bootWallMs },
    ],
  });
  for (const bootId of ['boot-1', 'boot-2']) {
    const state = await run(bootId, {
      ...stepped,
      bootWallMs: stepped.bootWallMs + (bootId === 'boot-2' ? MINUTE : 0),
    });
    assert.equal(state.firstBootMs, BOOT + HOUR, bootId);
    assert.equal(step(state, { type: 'tick' }, stepped.now).snapshot.deadlineMs, BOOT + 11 * HOUR, bootId);
  }
});
