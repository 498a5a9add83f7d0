/** A host share that hangs in the kernel must not stop the agent (SYSTEMS.md, "Hung shares"). Needs root and /dev/fuse. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { processIdentity, strayReaders } from '../../agent/sources/directory/strays.ts';
import { type Source, SourceError } from '../../agent/sources/source.ts';
import { type FuseShare, noFuseShare, startFuseShare } from '../hosts/fuse-share.ts';
import { createFixture, type Fixture, present, read, sideOf } from '../sources/directory-fixture.ts';
import type { HungReport } from './hung-agent.ts';

const program = (name: string) => [
  '--import',
  pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href,
  fileURLToPath(new URL(name, import.meta.url)),
];
const reason = noFuseShare();
const hung = (error: unknown) => error instanceof SourceError && error.code === 'hung';

describe('a host share that hangs in the kernel', () => {
  let fixture: Fixture;
  let share: string;
  let host: FuseShare | undefined;
  let source: Source;

  before(async () => {
    if (reason !== undefined) return;
    fixture = createFixture();
    share = fixture.at('share');
    fs.mkdirSync(share);
    fs.writeFileSync(fixture.at('other'), 'local');
    host = await startFuseShare(share);
    await tell('set total_cpu 8');
    source = fixture.source({ machinefeatures: share });
  });

  after(async () => {
    if (reason !== undefined) return;
    await host?.end();
    source?.close?.();
    await readersBecome(0);
    fixture.remove();
  });

  async function tell(command: string): Promise<string> {
    assert.ok(host);
    return host.tell(command);
  }

  /** Every reader of this share, waited for or left behind, whoever started it. */
  const readers = () => strayReaders('/proc', share, processIdentity('/proc', 'self') ?? '', new Set()).length;
  async function readersBecome(count: number): Promise<void> {
    const untilMs = performance.now() + 30_000;
    while (readers() !== count) {
      assert.ok(performance.now() < untilMs, `${readers()} readers instead of ${count}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async function anotherAgent(): Promise<HungReport> {
    const args = [...program('hung-agent.ts'), fixture.root, share];
    // A process.exit that never returns shows as SIGKILL at the time limit, which rejects.
    const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 60_000, killSignal: 'SIGKILL' });
    return JSON.parse(stdout);
  }

  it('is read through the child as long as it answers', async (t) => {
    if (reason !== undefined) return t.skip(reason);
    assert.deepEqual((await sideOf(source)).keys, { total_cpu: present('8') });
    await tell('set shutdowntime 1766440000');
    assert.deepEqual((await sideOf(source)).keys, { total_cpu: present('8'), shutdowntime: present('1766440000') });
    await tell('unset shutdowntime');
    assert.deepEqual((await sideOf(source)).keys, { total_cpu: present('8') });
    assert.equal(readers(), 1);
  });

  it('fails as hung after its bound, while timers, other files and process.exit are unharmed', async (t) => {
    if (reason !== undefined) return t.skip(reason);
    await tell('hang');
    const report = await anotherAgent();
    assert.equal(report.outcome, 'hung');
    assert.equal(report.files, 8);
    assert.ok(report.ticks > 20, `${report.ticks} ticks of 20 ms in 3 s`);
    // Its child is stuck and outlives it; the idle one of this process is still there.
    assert.equal(readers(), 2);
    assert.notEqual(await tell('held'), 'held 0');
  });

  it('leaves at most two children behind, counted over restarts of the agent and new sources', async (t) => {
    if (reason !== undefined) return t.skip(reason);
    await assert.rejects(read(source), hung);
    assert.equal(readers(), 2);
    for (let poll = 0; poll < 3; poll += 1) await assert.rejects(read(source), hung);
    const restarted = fixture.source({ machinefeatures: share });
    await assert.rejects(read(restarted), hung);
    assert.equal((await anotherAgent()).outcome, 'hung');
    assert.equal(readers(), 2);
  });

  it('gives the good side while the other hangs', async (t) => {
    if (reason !== undefined) return t.skip(reason);
    fixture.write('local/job_id', 'x');
    const both = fixture.source({ machinefeatures: share, jobfeatures: fixture.at('local') });
    const result = await read(both);
    assert.ok(result.outcome === 'answer');
    assert.deepEqual(result.answer.job?.keys, { job_id: present('x') });
    assert.deepEqual(result.answer.machine?.keys, { shutdowntime: { is: 'unknown', error: 'hung' } });
  });

  it('is read again, and at once, when it answers again', async (t) => {
    if (reason !== undefined) return t.skip(reason);
    const abort = new AbortController();
    let onChanged = () => {};
    source.watch?.(() => onChanged(), abort.signal);
    // `watch` after a reading calls once by itself; only what comes afterwards is news of a reader that returned.
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    const returned = new Promise<void>((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error('neither changed was called nor did a poll succeed')),
        60_000,
      ).unref();
      onChanged = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    await tell('set total_cpu 4');
    await tell('answer');
    // Normally the stuck reader returns and says so. One that could be killed at once has nothing to say; then the poll finds it.
    for (let well = false; !well; ) {
      const polled = new Promise<boolean>((resolve) => setTimeout(resolve, 1_000, false));
      well =
        (await Promise.race([returned.then(() => true), polled])) ||
        (await read(source).then(
          () => true,
          () => false,
        ));
    }
    abort.abort();
    assert.deepEqual((await sideOf(source)).keys, { total_cpu: present('4') });
    // The reader of the agent that is gone ends too, only the one in use stays.
    await readersBecome(1);
  });
});
