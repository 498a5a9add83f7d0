/** When the shared directory is looked at, without the children that write into it (directory.slow.test.ts). */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { type DirectoryOptions, openDirectory } from '../../agent/report/directory.ts';
import { eventsOf, newsOf, quiet, surroundings, turnTime } from './fake-back.ts';

/** A child that cannot be started: that one was wanted shows as a failure. */
const NO_CHILD = { command: '/nonexistent/child', args: [] };

function open(
  t: TestContext,
  directory: (root: string) => string,
  self: DirectoryOptions['self'] = NO_CHILD,
  optional = true,
) {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-jobstatus-'));
  t.after(() => fs.rmSync(root, { recursive: true }));
  const time = turnTime(t);
  const { environment, lines } = surroundings();
  const reporter = openDirectory({ ...environment, path: directory(root), optional, self });
  t.after(async () => {
    const closed = reporter.close();
    await time.pass(2_000);
    await closed;
  });
  return { root, reporter, lines, ...time };
}

const ANSWER = newsOf({ answer: { now: true } });

test('where the directory is not, no child is started, nothing waits and nobody is told', async (t) => {
  const { reporter, lines, pass } = open(t, (root) => path.join(root, 'host/jobstatus'));
  reporter.update(newsOf({}));
  await quiet();
  reporter.update(ANSWER);
  await pass(5_000);
  reporter.update(newsOf({ answer: { now: true }, lastWord: { code: 200, text: '' } }));
  await pass(600_000);
  assert.deepEqual([reporter.pending(), reporter.owesLastWord(), eventsOf(lines())], [0, false, []]);
});

test('a directory that comes later is found within a minute, although nothing changes', async (t) => {
  const { root, reporter, lines, pass } = open(t, (at) => path.join(at, 'jobstatus'));
  reporter.update(ANSWER);
  await quiet();
  fs.mkdirSync(path.join(root, 'jobstatus'));
  await pass(59_000);
  assert.deepEqual(eventsOf(lines()), []);
  await pass(1_000);
  assert.deepEqual(eventsOf(lines()), ['report_failed']);
});

test('and at once when something changes', async (t) => {
  const { root, reporter, lines, pass } = open(t, (at) => path.join(at, 'jobstatus'));
  reporter.update(ANSWER);
  await quiet();
  fs.mkdirSync(path.join(root, 'jobstatus'));
  reporter.update(newsOf({ answer: { now: false } }));
  await pass(0);
  assert.deepEqual(eventsOf(lines()), ['report_failed']);
});

test('what lies behind a link is left to the child, which may hang there', async (t) => {
  const { reporter, lines } = open(t, (root) => {
    fs.mkdirSync(path.join(root, 'share'));
    fs.symlinkSync(path.join(root, 'share'), path.join(root, 'host'));
    return path.join(root, 'host/jobstatus');
  });
  reporter.update(ANSWER);
  await quiet();
  assert.deepEqual(eventsOf(lines()), ['report_failed']);
});

test('a child that found nothing is not followed by another within the minute, whatever changes', async (t) => {
  const started = path.join(os.tmpdir(), `mjf-children-${process.pid}`);
  t.after(() => fs.rmSync(started));
  const self = { command: '/bin/sh', args: ['-c', `echo >> ${started}; echo enoent >&2; exit 1`, 'sh'] };
  const { root, reporter, lines, pass } = open(t, (at) => path.join(at, 'host/jobstatus'), self);
  fs.symlinkSync(root, path.join(root, 'host'));
  const tell = async (progress: number): Promise<void> => {
    reporter.update(newsOf({ answer: { progress } }));
    do await quiet();
    while (reporter.pending() > 0);
  };
  await tell(0.1);
  await pass(50_000);
  await tell(0.2);
  assert.equal(fs.readFileSync(started, 'utf8').length, 1);
  await pass(60_000);
  await tell(0.3);
  assert.equal(fs.readFileSync(started, 'utf8').length, 2);
  assert.deepEqual(eventsOf(lines()), []);
});

test('one that the configuration names is told of by name while there is nothing to say yet, and once', async (t) => {
  const { root, reporter, lines, pass } = open(t, (at) => path.join(at, 'jobstatus'), NO_CHILD, false);
  reporter.update(newsOf({}));
  await pass(600_000);
  const told = lines();
  assert.deepEqual(eventsOf(told), ['report_directory_unfit']);
  assert.ok(JSON.stringify(told).includes(path.join(root, 'jobstatus')), 'with its path');
});
