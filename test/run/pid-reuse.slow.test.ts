/** Pids that are given away again under the agent: no stranger gets a signal (DESIGN.md, promise 3). */
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import os from 'node:os';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { PYTHON, whyNoZoo, ZOO } from '../support/zoo.ts';

/** The first 300 are not given away again, and the threads of the agent and of the test take some fifty. */
const PIDS = 600;
const INSIDE = fileURLToPath(new URL('./pid-reuse.ts', import.meta.url));
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const NAMESPACE = ['--pid', '--fork', '--mount-proc', '--kill-child'] as const;
/** Far more than it takes on a laden machine. */
const LATEST_MS = 120_000;

/** Before Linux 6.14 the number of pids is that of the whole machine: not ours to change, not even to try. */
function whyNoFewPids(): string | undefined {
  const [major = 0, minor = 0] = os.release().split('.').map(Number);
  if (major < 6 || (major === 6 && minor < 14)) return 'needs Linux 6.14, where a pid namespace has its own pid_max';
  if (process.getuid?.() !== 0) return 'needs root, for a pid namespace';
  const { error, status } = spawnSync('unshare', [...NAMESPACE, 'true']);
  return error !== undefined || status !== 0 ? 'needs unshare (util-linux) and pid namespaces' : whyNoZoo();
}

test('pids that are reused all the time: payloads are stopped, and no stranger gets a signal', {
  skip: whyNoFewPids() ?? false,
}, async (t) => {
  const inside = [process.execPath, '--import', 'tsx', INSIDE];
  const init = [...PYTHON, ZOO, 'init', String(PIDS)];
  // Killed, it takes everybody in the namespace with it.
  const options = { cwd: ROOT, timeout: LATEST_MS, killSignal: 'SIGKILL' } as const;
  const ran = promisify(execFile)('unshare', [...NAMESPACE, ...init, ...inside], options);
  await assert.doesNotReject(ran);
  t.diagnostic((await ran).stdout.trim());
});
