import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { JobOutputsConfig } from '../../agent/config/types.ts';
import type { FinalWord, MachineAnswer, Snapshot } from '../../agent/lifetime/types.ts';
import { publicationOf } from '../../agent/publish/publication.ts';
import { ANSWER_FILE, type JobOutputsOptions, openJobOutputs } from '../../agent/report/joboutputs.ts';
import type { SiteNews } from '../../agent/report/reporter.ts';
import { type MjfHost, startMjfHost } from '../hosts/mjf.ts';
import { logLines } from '../support/log-lines.ts';
import { snapshotOf } from '../support/snapshot.ts';
import { slowDisk } from './slow-disk.ts';

const NOWHERE: JobOutputsConfig = {
  enabled: true,
  url: null,
  directory: null,
  caFile: null,
  certFile: null,
  keyFile: null,
  heartbeatFile: null,
  heartbeatMs: 60_000,
};
/** The writer child by plain means; what the real one does: deliver.test.ts. */
const WRITER = 'if [ "$4" = remove ]; then rm -f "$2/$3"; else cat > "$2/.new" && mv "$2/.new" "$2/$3"; fi';
const SHELL = { command: '/bin/sh', args: ['-c', WRITER, 'sh'] };
/** Generous: only a broken test waits so long. */
const GIVE_UP_MS = 60_000;
const HERE = { machineId: 'machine-1', bootId: 'boot-1' };
const STOPPED: FinalWord = { code: 100, text: 'Shutdown as requested by the host' };
const BUSY: MachineAnswer = { now: false, atMs: 1_766_450_000_000, mustNotUntilMs: null, progress: 0.25 };

/** What must end before its site does, or it would wait for it. */
const opened = new WeakMap<TestContext, (() => Promise<void>)[]>();

async function site(t: TestContext): Promise<MjfHost> {
  const host = await startMjfHost();
  t.after(async () => {
    host.recover();
    await Promise.all((opened.get(t) ?? []).map((close) => close()));
    await host.close();
  });
  return host;
}

function place(t: TestContext): string {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-outputs-'));
  t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
  return dir;
}

interface Opened extends Omit<ReturnType<typeof openJobOutputs>, 'put'> {
  /** By root where nobody is named. */
  put(name: string, body: Buffer, uid?: number): ReturnType<ReturnType<typeof openJobOutputs>['put']>;
  readonly events: () => readonly string[];
  readonly text: () => string;
}

function open(t: TestContext, config: Partial<JobOutputsConfig>, options: Partial<JobOutputsOptions> = {}): Opened {
  const { log, take } = logLines();
  const lines: ReturnType<typeof take>[number][] = [];
  const outputs = openJobOutputs({
    config: { ...NOWHERE, ...config },
    env: {},
    self: SHELL,
    ownAddresses: [{ host: '127.0.0.1', port: 8653 }],
    spoolDir: null,
    identity: HERE,
    log,
    count: () => {},
    ...options,
  });
  t.after(() => outputs.close());
  opened.set(t, [...(opened.get(t) ?? []), outputs.close]);
  const all = () => {
    lines.push(...take());
    return lines;
  };
  const put: Opened['put'] = (name, body, uid = 0) => outputs.put(name, body, uid);
  return { ...outputs, put, events: () => all().map(({ event }) => event), text: () => JSON.stringify(all()) };
}

function news(lastWord: FinalWord | null, changes: Partial<Snapshot> = {}): SiteNews {
  const { snapshot, payloads } = snapshotOf({ machine: { shutdowntime: '1766440001' }, job: { job_id: 'vm-17' } });
  return { publication: publicationOf({ ...snapshot, ...changes }, payloads, null), lastWord, released: [] };
}

const names = (host: MjfHost): readonly string[] => host.taken.map(({ name }) => name);
const at = (host: MjfHost): string => `${host.url}/joboutputs`;

/** For what shows itself in a log or a directory only. */
async function until(what: () => boolean): Promise<void> {
  const giveUpAt = Date.now() + GIVE_UP_MS;
  while (!what() && Date.now() < giveUpAt) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.ok(what(), 'never happened');
}

/** Up to its bound, without the wait. */
async function closeUnheard(t: TestContext, { close }: Opened): Promise<void> {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let isClosed = false;
  const closed = close().then(() => {
    isClosed = true;
  });
  while (!isClosed) {
    t.mock.timers.tick(10);
    await new Promise(setImmediate);
  }
  await closed;
  t.mock.timers.reset();
}

test('the last message is one line without a newline, sent once, and owed until it is there', async (t) => {
  const host = await site(t);
  host.fault('*', { is: 'hang' });
  const outputs = open(t, { url: at(host) });
  outputs.update(news(null));
  assert.equal(outputs.owesLastWord(), false);
  const asked = host.seen(1);
  outputs.update(news({ code: 100, text: 'Shutdown as\nrequested' }));
  outputs.update(news({ code: 100, text: 'Shutdown as requested' }));
  assert.equal(outputs.owesLastWord(), true);
  assert.equal(outputs.pending(), 1);
  await asked;
  host.fault('*', undefined);
  host.dropConnections();
  await outputs.close();
  assert.deepEqual(host.taken, [{ name: 'shutdown_message', text: '100 Shutdown as requested' }]);
  assert.equal(outputs.owesLastWord(), false);
  assert.deepEqual(outputs.events(), ['report_channel', 'shutdown_message', 'report_failed', 'report_recovered']);
});

test('another last word overwrites the first; after a cancel, the same is said again', async (t) => {
  const host = await site(t);
  const outputs = open(t, { url: at(host) });
  outputs.update(news({ code: 200, text: 'done' }));
  await host.took(1);
  outputs.update(news({ code: 700, text: 'no' }));
  await host.took(2);
  outputs.update(news(null));
  assert.equal(outputs.owesLastWord(), false);
  outputs.update(news({ code: 700, text: 'no' }));
  await host.took(3);
  assert.deepEqual(
    host.taken.map(({ text }) => text),
    ['200 done', '700 no', '700 no'],
  );
});

test('a word that the host has taken back in time does not go out', async (t) => {
  const host = await site(t);
  host.fault('*', { is: 'status', status: 503 });
  const spoolDir = path.join(place(t), 'outbox');
  const outputs = open(t, { url: at(host) }, { spoolDir });
  outputs.update(news(STOPPED));
  await until(() => outputs.events().includes('report_failed'));
  outputs.update(news(null));
  assert.equal(outputs.owesLastWord(), false);
  host.fault('*', undefined);
  await outputs.close();
  assert.deepEqual(host.taken, []);
  assert.deepEqual(fs.readdirSync(spoolDir), []);
});

test('in a directory a message that is true no longer is taken away', async (t) => {
  const directory = place(t);
  const outputs = open(t, { directory });
  outputs.update(news(STOPPED));
  await until(() => !outputs.owesLastWord());
  assert.equal(fs.readFileSync(path.join(directory, 'shutdown_message'), 'utf8'), `100 ${STOPPED.text}`);
  outputs.update(news(null));
  await until(() => outputs.pending() === 0);
  assert.deepEqual(fs.readdirSync(directory), []);
});

test('no payload can crowd out the last message: files that the site does not take, or that hang', async (t) => {
  const host = await site(t);
  host.fault('*', { is: 'status', status: 503 });
  host.fault('joboutputs/file-0', { is: 'hang' });
  host.fault('joboutputs/shutdown_message', { is: 'slow', delayMs: 0 });
  const outputs = open(t, { url: at(host) });
  const hanging = host.seen(1, 'joboutputs/file-0');
  for (let n = 0; n < 64; n += 1) assert.equal(await outputs.put(`file-${n}`, Buffer.from('x')), 'stored');
  assert.equal(await outputs.put('one-more', Buffer.from('x')), 'full');
  assert.equal(await outputs.put('file-1', Buffer.alloc(8 * 1024 * 1024)), 'full');
  assert.equal(await outputs.put('file-1', Buffer.from('again')), 'stored');
  await hanging;
  outputs.update(news(STOPPED));
  await until(() => !outputs.owesLastWord());
  assert.deepEqual(names(host), ['shutdown_message']);
  assert.equal(outputs.pending(), 64);
});

test('what the site refuses for good is dropped with a line; the rest goes on', async (t) => {
  const host = await site(t);
  host.fault('joboutputs/huge', { is: 'status', status: 413 });
  const outputs = open(t, { url: at(host) });
  await outputs.put('huge', Buffer.from('x'));
  await outputs.put('log', Buffer.from('y'));
  await host.took(1);
  await outputs.close();
  assert.deepEqual(names(host), ['log']);
  assert.match(outputs.text(), /report_refused[^}]*http_413/);
});

test('the last word is not dropped: what the site has against it may be mended before the machine goes', async (t) => {
  const host = await site(t);
  host.fault('*', { is: 'status', status: 400 });
  const outputs = open(t, { url: at(host) });
  outputs.update(news(STOPPED));
  await until(() => outputs.events().includes('report_failed'));
  assert.equal(outputs.owesLastWord(), true);
  host.fault('*', undefined);
  await outputs.close();
  assert.deepEqual(names(host), ['shutdown_message']);
});

test('a site that is away gets the file when it is back, the newest content of a name', async (t) => {
  const host = await site(t);
  host.fault('*', { is: 'status', status: 500 });
  const outputs = open(t, { url: at(host) });
  await outputs.put('log', Buffer.from('old'));
  await until(() => outputs.events().includes('report_failed'));
  host.fault('*', undefined);
  await outputs.put('log', Buffer.from('new'));
  await outputs.close();
  assert.deepEqual(host.taken, [{ name: 'log', text: 'new' }]);
  assert.ok(outputs.events().includes('report_recovered'));
});

test('the heartbeat goes out at once, under the name that the site gave, and again though nothing changes', async (t) => {
  const host = await site(t);
  open(t, { url: at(host), heartbeatFile: 'alive', heartbeatMs: 20 });
  await host.took(3);
  assert.deepEqual(new Set(names(host)), new Set(['alive']));
  assert.match(host.taken[0]?.text ?? '', /^\d+\.\d\d \d+\.\d\d \d+\.\d\d\n[\d.]+\n$/);
});

test('the answer: one line of JSON that says no more than it must; none where there never was one (S5.2)', async (t) => {
  const host = await site(t);
  const outputs = open(t, { url: at(host) });
  outputs.update(news(null));
  await outputs.put('log', Buffer.from('x'));
  await host.took(1);
  outputs.update(news(null, { canTerminate: BUSY }));
  await host.took(2);
  assert.deepEqual(names(host), ['log', ANSWER_FILE]);
  const text = host.outputs.get(ANSWER_FILE)?.toString() ?? '';
  assert.match(text, /^[^\n]*\n$/);
  assert.deepEqual(JSON.parse(text), {
    can_terminate: { now: false, at: 1_766_450_000, must_not_until: null, progress: 0.25 },
    phase: 'stopped',
    deadline: 1_766_440_001,
    termination_allowed: null,
    payloads: { running: 0, stopping: 0, stopped: 0 },
    job_id: 'vm-17',
  });
  // Once one stands there, "none" has to be said.
  outputs.update(news(null));
  await outputs.close();
  assert.equal(JSON.parse(host.taken.at(-1)?.text ?? '').can_terminate, null);
});

test('JOBOUTPUTS that is no URL, or the agent itself, is no channel; secrets of a URL stay out of the log', async (t) => {
  const put = (JOBOUTPUTS?: string) =>
    open(t, {}, { env: { ...(JOBOUTPUTS !== undefined && { JOBOUTPUTS }) } }).put('log', Buffer.from('x'));
  assert.equal(await put('http://exa mple.org/x'), 'no_channel');
  assert.equal(await put('http://localhost:8653/joboutputs'), 'no_channel');
  assert.equal(await put(), 'no_channel');
  const off = open(t, { enabled: false }, { env: { JOBOUTPUTS: 'http://127.0.0.1:9/out' } });
  off.pointTo('http://127.0.0.1:9/out');
  assert.equal(await off.put('log', Buffer.from('x')), 'no_channel', 'turned off');
  const outputs = open(t, {}, { env: { JOBOUTPUTS: 'http://user:secret@127.0.0.1:9/out?token=abc' } });
  assert.deepEqual(outputs.events(), ['report_channel']);
  assert.doesNotMatch(outputs.text(), /secret|abc/);
});

test('without a channel nothing is owed; the place that a platform names later hears it all, the next one too', async (t) => {
  const [first, second] = [await site(t), await site(t)];
  const outputs = open(t, {});
  outputs.update(news(STOPPED, { canTerminate: BUSY }));
  assert.equal(outputs.owesLastWord(), false);
  outputs.pointTo(at(first));
  await first.took(2);
  outputs.pointTo(at(first));
  outputs.pointTo(undefined);
  await outputs.put('log', Buffer.from('x'));
  await until(() => outputs.pending() === 0);
  assert.deepEqual(names(first), ['shutdown_message', ANSWER_FILE, 'log']);
  outputs.pointTo(at(second));
  await second.took(2);
  await outputs.close();
  assert.deepEqual(names(second), ['shutdown_message', ANSWER_FILE]);
  assert.equal(first.taken.length, 3);
});

test('where configuration or environment name the place, no platform does', async (t) => {
  const [host, other] = [await site(t), await site(t)];
  const outputs = open(t, { url: at(host) });
  outputs.pointTo(at(other));
  outputs.update(news(STOPPED));
  await host.took(1);
  assert.equal(other.requests.length, 0);
});

test('a crash between PUT and delivery: files and last word go out after the restart, in order, once', async (t) => {
  const host = await site(t);
  const spoolDir = path.join(place(t), 'outbox');
  host.fault('*', { is: 'hang' });
  const config = { url: at(host) };
  const crashed = open(t, config, { spoolDir });
  crashed.update(news(STOPPED));
  assert.equal(await crashed.put('b', Buffer.from('old')), 'stored');
  assert.equal(await crashed.put('a', Buffer.from('1')), 'stored');
  assert.equal(await crashed.put('b', Buffer.from('new')), 'stored');
  await until(() => fs.readdirSync(spoolDir).includes('own.shutdown_message'));
  // What a killed agent leaves: its disk, and nothing else.
  const disk = path.join(place(t), 'outbox');
  fs.cpSync(spoolDir, disk, { recursive: true });
  host.fault('*', undefined);

  const restarted = open(t, config, { spoolDir: disk });
  restarted.update(news(STOPPED));
  assert.equal(restarted.owesLastWord(), true);
  await host.took(3);
  assert.deepEqual(
    host.taken.filter(({ name }) => name !== 'shutdown_message'),
    [
      { name: 'a', text: '1' },
      { name: 'b', text: 'new' },
    ],
  );
  assert.equal(host.outputs.get('shutdown_message')?.toString(), `100 ${STOPPED.text}`);
  await restarted.close();
  assert.deepEqual(fs.readdirSync(disk), ['said.shutdown_message']);

  const third = open(t, config, { spoolDir: disk });
  third.update(news(STOPPED));
  await third.put('c', Buffer.from('x'));
  await host.took(4);
  await third.close();
  assert.equal(host.taken.length, 4, 'what was delivered is not said again');
});

test('a file is on disk before the site hears of it: a crash then is followed by nothing older', async (t) => {
  const host = await site(t);
  const outputs = open(t, { url: at(host) }, { spoolDir: path.join(place(t), 'outbox') });
  assert.equal(await outputs.put('log', Buffer.from('1')), 'stored');
  await host.took(1);
  let isAsked = (): void => {};
  const asked = new Promise<void>((resolve) => {
    isAsked = resolve;
  });
  let write = (): void => {};
  const held = new Promise<void>((resolve) => {
    write = resolve;
  });
  const { rename } = fs.promises;
  const mocked = t.mock.method(fs.promises, 'rename', async (from: string, to: string) => {
    isAsked();
    await held;
    return rename(from, to);
  });
  const stored = [outputs.put('log', Buffer.from('2')), outputs.put('log', Buffer.from('3'))];
  await asked;
  // Of another line, and taken: what was to go at once would have gone by then.
  outputs.update(news(STOPPED));
  await until(() => !outputs.owesLastWord());
  assert.deepEqual(names(host), ['log', 'shutdown_message']);
  assert.equal(outputs.pending(), 1);
  mocked.mock.restore();
  write();
  assert.deepEqual(await Promise.all(stored), ['stored', 'stored']);
  await until(() => outputs.pending() === 0);
  assert.equal(host.outputs.get('log')?.toString(), '3');
  const versions = host.taken.filter(({ name }) => name === 'log').map(({ text }) => Number(text));
  assert.deepEqual(
    versions,
    versions.toSorted((a, b) => a - b),
    'nothing older after something newer',
  );
});

test('what is PUT anew before the former files are read wins over them', async (t) => {
  const host = await site(t);
  const spoolDir = path.join(place(t), 'outbox');
  host.fault('*', { is: 'hang' });
  const first = open(t, { url: at(host) }, { spoolDir });
  await first.put('a', Buffer.from('old'));
  await closeUnheard(t, first);
  assert.ok(first.events().includes('report_kept'));
  host.fault('*', undefined);
  const second = open(t, { url: at(host) }, { spoolDir });
  await second.put('a', Buffer.from('new'));
  await second.close();
  assert.deepEqual(host.taken, [{ name: 'a', text: 'new' }]);
  assert.deepEqual(fs.readdirSync(spoolDir), []);
});

test('files wait on disk for a place that is not known yet', async (t) => {
  const host = await site(t);
  const spoolDir = path.join(place(t), 'outbox');
  host.fault('*', { is: 'hang' });
  const first = open(t, { url: at(host) }, { spoolDir });
  await first.put('a', Buffer.from('x'));
  await closeUnheard(t, first);
  host.fault('*', undefined);
  const second = open(t, {}, { spoolDir });
  await until(() => second.events().includes('report_restored'));
  assert.equal(second.pending(), 1);
  second.pointTo(at(host));
  await host.took(1);
  await second.close();
  assert.deepEqual(host.taken, [{ name: 'a', text: 'x' }]);
});

test('a last word left over: of a former boot it goes out; of this one only while it is still true', async (t) => {
  const host = await site(t);
  const leaveBehind = async (): Promise<string> => {
    host.fault('*', { is: 'status', status: 503 });
    const spoolDir = path.join(place(t), 'outbox');
    const first = open(t, { url: at(host) }, { spoolDir });
    first.update(news(STOPPED));
    await until(() => fs.existsSync(path.join(spoolDir, 'own.shutdown_message')));
    await closeUnheard(t, first);
    host.fault('*', undefined);
    return spoolDir;
  };
  const cleared = await leaveBehind();
  const same = open(t, { url: at(host) }, { spoolDir: cleared });
  same.update(news(null));
  await until(() => fs.readdirSync(cleared).length === 0);
  await same.close();
  assert.deepEqual(host.taken, []);

  const rebooted = await leaveBehind();
  const after = open(t, { url: at(host) }, { spoolDir: rebooted, identity: { ...HERE, bootId: 'boot-2' } });
  after.update(news(null));
  await host.took(1);
  assert.equal(after.owesLastWord(), false);
  await after.close();
  assert.deepEqual(host.taken, [{ name: 'shutdown_message', text: `100 ${STOPPED.text}` }]);
  assert.deepEqual(fs.readdirSync(rebooted), []);
});

test('a disk that was too slow when the machine booted: what it has goes out when it answers', async (t) => {
  const host = await site(t);
  const spoolDir = path.join(place(t), 'outbox');
  host.fault('*', { is: 'status', status: 503 });
  const first = open(t, { url: at(host) }, { spoolDir });
  first.update(news(STOPPED));
  for (const name of ['a', 'b']) assert.equal(await first.put(name, Buffer.from('old')), 'stored');
  await until(() => fs.existsSync(path.join(spoolDir, 'own.shutdown_message')));
  await closeUnheard(t, first);
  host.recover();

  const disk = slowDisk(t);
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const rebooted = open(t, { url: at(host) }, { spoolDir, identity: { ...HERE, bootId: 'boot-2' } });
  rebooted.update(news(null));
  t.mock.timers.tick(5_000);
  t.mock.timers.reset();
  await new Promise(setImmediate);
  assert.ok(rebooted.events().includes('spool_failed'));
  void rebooted.put('b', Buffer.from('new'));
  await host.took(1);
  disk.answer();
  await host.took(3);
  await rebooted.close();
  assert.deepEqual(
    [...host.taken].sort((x, y) => (x.name < y.name ? -1 : 1)),
    [
      { name: 'a', text: 'old' },
      { name: 'b', text: 'new' },
      { name: 'shutdown_message', text: `100 ${STOPPED.text}` },
    ],
  );
  assert.deepEqual(fs.readdirSync(spoolDir), []);
});

test('after a restart: a message in a directory goes when it is true no longer, an answer does not stay behind', async (t) => {
  const [directory, spoolDir] = [place(t), path.join(place(t), 'outbox')];
  const first = open(t, { directory }, { spoolDir });
  first.update(news(STOPPED, { canTerminate: BUSY }));
  // That both have been said stands on disk: a slow one must not be overtaken by the next start.
  const marks = () => (fs.existsSync(spoolDir) ? fs.readdirSync(spoolDir).filter((name) => /^said/.test(name)) : []);
  await until(() => first.pending() === 0 && marks().length === 2);
  await first.close();
  assert.deepEqual(fs.readdirSync(directory).sort(), [ANSWER_FILE, 'shutdown_message']);
  const second = open(t, { directory }, { spoolDir });
  second.update(news(null));
  await until(() => second.events().includes('report_channel') && fs.readdirSync(directory).length === 1);
  await until(() => second.pending() === 0);
  assert.equal(JSON.parse(fs.readFileSync(path.join(directory, ANSWER_FILE), 'utf8')).can_terminate, null);
});

test('a disk that refuses does not refuse the payload: kept in memory, counted, and lost with a line', async (t) => {
  const host = await site(t);
  host.fault('*', { is: 'status', status: 503 });
  const file = path.join(place(t), 'file');
  fs.writeFileSync(file, '');
  const counts: string[] = [];
  const outputs = open(
    t,
    { url: at(host) },
    { spoolDir: path.join(file, 'outbox'), count: (metric) => void counts.push(metric) },
  );
  assert.equal(await outputs.put('a', Buffer.from('x')), 'stored');
  assert.equal(await outputs.put('b', Buffer.from('x')), 'stored');
  assert.ok(counts.filter((metric) => metric === 'mjf_report_spool_errors_total').length >= 2);
  await closeUnheard(t, outputs);
  assert.equal(outputs.events().filter((event) => event === 'spool_failed').length, 1);
  assert.match(outputs.text(), /report_lost[^}]*"files":\["[ab]","[ab]"\]/);
});

test('a disk that never answers keeps neither the last word back nor the end', async (t) => {
  const host = await site(t);
  const spoolDir = place(t);
  const { lstat } = fs.promises;
  const hung: (() => void)[] = [];
  t.mock.method(fs.promises, 'lstat', async (file: string) => {
    await new Promise<void>((resolve) => hung.push(resolve));
    return lstat(file);
  });
  const outputs = open(t, { url: at(host) }, { spoolDir });
  outputs.update(news(STOPPED));
  assert.equal(outputs.owesLastWord(), true);
  await closeUnheard(t, outputs);
  assert.deepEqual(names(host), ['shutdown_message']);
  for (const letGo of hung) letGo();
});

test('a name is his who used it first; another user gets neither at it nor at all the room', async (t) => {
  const host = await site(t);
  const outputs = open(t, { url: at(host) });
  const put = (name: string, uid: number) => outputs.put(name, Buffer.from(`${uid}`), uid);
  assert.equal(await put('pilot.log', 1000), 'stored');
  await host.took(1);
  // Also once the site has it.
  assert.equal(await put('pilot.log', 1001), 'taken');
  assert.equal(await put('pilot.log', 1000), 'stored');
  await host.took(2);
  assert.equal(await put('pilot.log', 0), 'stored');
  assert.equal(await put('pilot.log', 1001), 'taken');
  await host.took(3);
  assert.deepEqual(
    host.taken.map(({ text }) => text),
    ['1000', '1000', '0'],
  );
  host.fault('*', { is: 'status', status: 403 });
  for (let n = 0; n < 32; n += 1) assert.equal(await put(`fill-${n}`, 1001), 'stored');
  assert.equal(await put('fill-32', 1001), 'full');
  assert.equal(await put('fill-0', 1001), 'stored');
  assert.equal(await put('pilot-2.log', 1000), 'stored');
  assert.equal(await outputs.put('large', Buffer.alloc(5 * 1024 * 1024), 1002), 'full');
});

test('whoever uses many names loses the oldest of his own alone', async (t) => {
  const host = await site(t);
  const outputs = open(t, { url: at(host) });
  assert.equal(await outputs.put('pilot.log', Buffer.from('x'), 1000), 'stored');
  for (let n = 0; n < 257; n += 1) {
    await outputs.put(`job-${n}`, Buffer.from('x'), 1001);
    await host.took(n + 2);
  }
  assert.equal(await outputs.put('job-1', Buffer.from('x'), 1000), 'taken');
  assert.equal(await outputs.put('job-0', Buffer.from('x'), 1000), 'stored');
  assert.equal(await outputs.put('pilot.log', Buffer.from('x'), 1001), 'taken');
});

test('whose a file is that waits for the site is known after a restart too', async (t) => {
  const host = await site(t);
  host.fault('*', { is: 'status', status: 503 });
  const spoolDir = path.join(place(t), 'outbox');
  const first = open(t, { url: at(host) }, { spoolDir });
  assert.equal(await first.put('pilot.log', Buffer.from('x'), 1000), 'stored');
  await first.close();
  const second = open(t, { url: at(host) }, { spoolDir });
  await until(() => second.events().includes('report_restored'));
  assert.equal(await second.put('pilot.log', Buffer.from('y'), 1001), 'taken');
  assert.equal(await second.put('pilot.log', Buffer.from('y'), 1000), 'stored');
});
