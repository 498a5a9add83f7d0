/** The crash walk in small (test/faults/crash-walk.test.ts goes through all moments): a few of them, spread over the story. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { openFilePublisher } from '../agent/publish/files.ts';
import type { Moment } from './faults/crash-walk/plan.ts';
import { playJudged } from './faults/crash-walk/verdict.ts';
import { type Call, isWrapper, report, walk } from './faults/crash-walk/walk.ts';

const RUNS = 8;
const AT_ONCE = 4;

test('kill -9 at some moments: files stay valid, no deadline is lost, no signal is repeated that the journal calls done', async (t) => {
  const totals = await walk({ atOnce: AT_ONCE, choose, play: playJudged('off') });
  t.diagnostic(report(totals));
  assert.deepEqual(totals.faults, []);
  assert.ok(totals.crashes > 0, 'the shim ended nothing');
});

/** Half of them around the signals, where there is most to lose; of the others every k-th. */
function choose(calls: readonly Call[]): readonly Moment[] {
  const kills = calls.filter(({ name }) => name === 'process.kill').map(({ n }) => n);
  const others = calls.filter((call) => !isWrapper(call, calls)).map(({ n }) => n);
  return [...spread(kills, RUNS / 2), ...spread(others, RUNS / 2)].map((n, index) => ({
    n,
    when: index % 2 === 0 ? 'after' : 'before',
  }));
}

function spread(from: readonly number[], count: number): readonly number[] {
  return Array.from({ length: count }, (_, index) => from[Math.floor(((index + 0.5) * from.length) / count)] ?? 1);
}

test('a view whose removal was cut short by kill -9 is gone after the next start', (t) => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-crash-'));
  t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
  fs.chmodSync(dir, 0o755);
  const views = path.join(dir, 'views');
  fs.mkdirSync(path.join(views, 'empty', 'machinefeatures'), { recursive: true });
  fs.mkdirSync(path.join(views, 'empty', 'jobfeatures'));
  fs.mkdirSync(path.join(views, 'half', 'jobfeatures'), { recursive: true });
  fs.mkdirSync(path.join(views, 'inhabited', 'jobfeatures'), { recursive: true });
  fs.writeFileSync(path.join(views, 'inhabited', 'jobfeatures', 'job_id'), 'j1\n');
  openFilePublisher({
    dir,
    now: () => ({ wall: Date.now(), mono: performance.now() }),
    onError: assert.fail,
    onRecovery: assert.fail,
  });
  assert.deepEqual(fs.readdirSync(views), ['inhabited']);
});
