/** The answer as key files in a directory of the host's, written by real children. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { type DirectoryOptions, openDirectory } from '../../agent/report/directory.ts';
import type { Reporter } from '../../agent/report/reporter.ts';
import { eventsOf, newsOf, surroundings } from './fake-back.ts';

const SELF = { command: process.execPath, args: ['--import', 'tsx', path.resolve('agent/main.ts')] };

function open(t: TestContext, options: Partial<DirectoryOptions> & { readonly below?: string } = {}) {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-jobstatus-'));
  t.after(() => fs.rmSync(root, { recursive: true }));
  const directory = path.join(root, options.below ?? 'jobstatus');
  const { environment, lines } = surroundings();
  const start = (): Reporter => {
    const reporter = openDirectory({
      ...environment,
      path: directory,
      optional: false,
      self: SELF,
      spacingMs: 0,
      ...options,
    });
    t.after(() => reporter.close());
    return reporter;
  };
  return { root, directory, lines, start };
}

const contents = (directory: string): Readonly<Record<string, string>> =>
  Object.fromEntries(
    fs.readdirSync(directory).map((name) => [name, fs.readFileSync(path.join(directory, name), 'utf8')]),
  );

/** Generous: only a broken test waits so long. */
const GIVE_UP_MS = 60_000;

/** For what announces itself to nobody; children take their time. */
async function until(holds: () => boolean): Promise<void> {
  const giveUpAt = Date.now() + GIVE_UP_MS;
  while (!holds() && Date.now() < giveUpAt) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(holds(), 'never happened');
}

const through = (reporter: Reporter): Promise<void> => until(() => reporter.pending() === 0);

test('key files as in $JOBFEATURES; what a former run has left and what holds no more goes; nobody else is touched', async (t) => {
  const { directory, start, lines } = open(t);
  fs.mkdirSync(directory);
  fs.writeFileSync(path.join(directory, 'can_terminate'), '1\n');
  fs.writeFileSync(path.join(directory, 'shutdown_message'), '200 of another boot');
  fs.writeFileSync(path.join(directory, 'README'), "the site's");
  const reporter = start();
  reporter.update(newsOf({}));
  await through(reporter);
  assert.deepEqual(contents(directory), { README: "the site's" });
  reporter.update(newsOf({ answer: { atMs: 1_766_439_000_000, progress: 0.5 } }));
  await through(reporter);
  assert.deepEqual(contents(directory), {
    README: "the site's",
    can_terminate: '0\n',
    can_terminate_at: '1766439000\n',
    progress: '0.5\n',
    phase: 'running\n',
  });
  const inode = fs.statSync(path.join(directory, 'phase')).ino;
  reporter.update(
    newsOf({ answer: { now: true }, lastWord: { code: 100, text: 'Shutdown as requested by the host' } }),
  );
  assert.equal(reporter.owesLastWord(), true);
  await through(reporter);
  assert.deepEqual(contents(directory), {
    README: "the site's",
    can_terminate: '1\n',
    phase: 'running\n',
    shutdown_message: '100 Shutdown as requested by the host',
  });
  assert.equal(fs.statSync(path.join(directory, 'phase')).ino, inode, 'what has not changed is not written again');
  assert.deepEqual([reporter.owesLastWord(), eventsOf(lines())], [false, []]);
});

test('a configured directory that is missing is told once and gets what it missed when it is there', async (t) => {
  const { directory, start, lines } = open(t);
  const reporter = start();
  reporter.update(newsOf({ answer: { now: true }, lastWord: { code: 200, text: 'done' } }));
  let told: readonly string[] = [];
  await until(() => {
    told = [...told, ...eventsOf(lines())];
    return told.length > 0;
  });
  assert.equal(reporter.owesLastWord(), true);
  fs.mkdirSync(directory);
  await through(reporter);
  assert.deepEqual(Object.keys(contents(directory)).sort(), ['can_terminate', 'phase', 'shutdown_message']);
  assert.deepEqual([...told, ...eventsOf(lines())], ['report_failed', 'report_recovered']);
});

test('an optional one behind a link is left alone, and told once: whoever made it is not the operator', async (t) => {
  const { root, directory, start, lines } = open(t, { optional: true, below: 'host/jobstatus', lookAgainMs: 50 });
  const elsewhere = path.join(root, 'share/jobstatus');
  fs.mkdirSync(elsewhere, { recursive: true });
  fs.symlinkSync(path.join(root, 'share'), path.join(root, 'host'));
  const reporter = start();
  reporter.update(newsOf({ answer: { now: true } }));
  let told: readonly string[] = [];
  await until(() => {
    told = [...told, ...eventsOf(lines())];
    return told.length > 0;
  });
  assert.deepEqual(fs.readdirSync(elsewhere), []);
  fs.rmSync(path.join(root, 'host'));
  fs.mkdirSync(directory, { recursive: true });
  await through(reporter);
  assert.deepEqual(contents(directory), { can_terminate: '1\n', phase: 'running\n' });
  assert.deepEqual([...told, ...eventsOf(lines())], ['report_failed', 'report_recovered']);
});

test('a share that hangs holds nobody up: the end comes within its bound, and the child is let go', async (t) => {
  const hanging = { command: process.execPath, args: ['-e', 'setInterval(() => {}, 1000)', '--'] };
  const { directory, start, lines } = open(t, { self: hanging });
  fs.mkdirSync(directory);
  const reporter = start();
  reporter.update(newsOf({ answer: { now: true } }));
  assert.equal(reporter.pending(), 1);
  await reporter.close();
  assert.deepEqual([reporter.pending(), fs.readdirSync(directory)], [1, []]);
  assert.deepEqual(eventsOf(lines()), ['report_lost']);
});
