import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { MachineAnswer } from '../../agent/lifetime/types.ts';
import type { Publication } from '../../agent/ports.ts';
import { type FilePublisher, openFilePublisher, RuntimeDirError } from '../../agent/publish/files.ts';
import { publicationOf } from '../../agent/publish/publication.ts';
import { snapshotOf } from '../support/snapshot.ts';

const DEADLINE = '1766450000';

describe('publish/files', () => {
  let base: string;
  let dir: string;
  let errors: string[];
  let recovered: number;
  let now: number;

  beforeEach(() => {
    base = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-files-'));
    dir = path.join(base, 'run');
    errors = [];
    recovered = 0;
    now = 0;
  });
  afterEach(() => fs.rmSync(base, { recursive: true, force: true }));

  const open = (): FilePublisher =>
    openFilePublisher({
      dir,
      now: () => ({ wall: now, mono: now }),
      onError: (code) => errors.push(code),
      onRecovery: () => {
        recovered += 1;
      },
    });
  const publication = (
    machine: Readonly<Record<string, string>>,
    job: Readonly<Record<string, string>> = {},
    before: Publication | null = null,
  ): Publication => {
    const { snapshot, payloads } = snapshotOf({ machine, job });
    return publicationOf(snapshot, payloads, before);
  };
  const text = (file: string): string => fs.readFileSync(path.join(dir, file), 'utf8');
  const tree = (): string[] =>
    fs
      .readdirSync(dir, { recursive: true })
      .map(String)
      .filter((file) => fs.statSync(path.join(dir, file)).isFile())
      .sort();

  test('a key is one file with the value and one newline, readable by everybody', () => {
    open().publish(publication({ total_cpu: ' 8\r\n' }));
    assert.equal(text('machinefeatures/total_cpu'), '8\n');
    assert.equal(fs.statSync(path.join(dir, 'machinefeatures')).mode & 0o777, 0o755);
    assert.equal(fs.statSync(path.join(dir, 'machinefeatures/total_cpu')).mode & 0o444, 0o444);
    assert.equal(fs.statSync(path.join(dir, 'views')).mode & 0o777, 0o711);
  });

  test('S2.4 both shutdown keys are there and equal, or neither is', () => {
    const files = open();
    files.publish(publication({ shutdowntime: DEADLINE }));
    assert.equal(text('machinefeatures/shutdowntime'), `${DEADLINE}\n`);
    assert.equal(text('jobfeatures/shutdowntime_job'), `${DEADLINE}\n`);
    files.publish(publication({ total_cpu: '8' }));
    assert.deepEqual(tree(), ['lifetime.json', 'machinefeatures/total_cpu']);
  });

  test('lifetime.json has the very bytes that HTTP serves', () => {
    const shown = publication({ total_cpu: '8', shutdowntime: DEADLINE });
    open().publish(shown);
    assert.ok(fs.readFileSync(path.join(dir, 'lifetime.json')).equals(shown.lifetimeJson));
  });

  test('what has not changed keeps its inode: unchanged truth is not written again', () => {
    const files = open();
    files.publish(publication({ total_cpu: '8', hs06: '10' }));
    const before = fs.statSync(path.join(dir, 'machinefeatures/total_cpu')).ino;
    files.publish(publication({ total_cpu: '8', hs06: '11' }));
    assert.equal(fs.statSync(path.join(dir, 'machinefeatures/total_cpu')).ino, before);
    assert.equal(text('machinefeatures/hs06'), '11\n');
  });

  test('a reader that holds the old file open sees the whole old value: replaced by rename, never rewritten', () => {
    const files = open();
    files.publish(publication({ hs06: '10' }));
    const fd = fs.openSync(path.join(dir, 'machinefeatures/hs06'), 'r');
    files.publish(publication({ hs06: '123.25' }));
    assert.equal(fs.readFileSync(fd, 'utf8'), '10\n');
    fs.closeSync(fd);
  });

  test('nothing but keys lies in the key directories, not even for a moment', () => {
    const files = open();
    const seen = new Set<string>();
    const watcher = fs.watch(path.join(dir, 'machinefeatures'), (_, file) => seen.add(String(file)));
    files.publish(publication({ hs06: '10', total_cpu: '8' }));
    watcher.close();
    for (const file of [...seen, ...fs.readdirSync(path.join(dir, 'machinefeatures'))])
      assert.match(file, /^(hs06|total_cpu)$/);
  });

  test('a restart keeps what is still true untouched and takes away what is not', () => {
    open().publish(publication({ total_cpu: '8', hs06: '10' }));
    const before = fs.statSync(path.join(dir, 'machinefeatures/total_cpu')).ino;
    open().publish(publication({ total_cpu: '8' }));
    assert.equal(fs.statSync(path.join(dir, 'machinefeatures/total_cpu')).ino, before);
    assert.deepEqual(tree(), ['lifetime.json', 'machinefeatures/total_cpu']);
  });

  test('a directory deleted under us is built again by the next publication and by touch', () => {
    const files = open();
    files.publish(publication({ hs06: '10' }));
    fs.rmSync(dir, { recursive: true });
    files.publish(publication({ hs06: '11' }));
    assert.equal(text('machinefeatures/hs06'), '11\n');
    fs.rmSync(dir, { recursive: true });
    files.touch();
    assert.equal(files.disturbed(), true);
    files.publish(publication({ hs06: '11' }));
    assert.equal(text('machinefeatures/hs06'), '11\n');
    assert.ok(fs.existsSync(path.join(dir, 'lifetime.json')));
    assert.equal(files.disturbed(), false);
  });

  test('a single key that somebody removed or replaced is seen and mended', () => {
    const files = open();
    files.publish(publication({ hs06: '10', total_cpu: '8' }));
    assert.equal(files.disturbed(), false);
    fs.rmSync(path.join(dir, 'machinefeatures/total_cpu'));
    fs.writeFileSync(path.join(dir, 'machinefeatures/lie'), '1\n');
    assert.equal(files.disturbed(), true);
    files.publish(publication({ hs06: '10', total_cpu: '8' }));
    assert.deepEqual(tree(), ['lifetime.json', 'machinefeatures/hs06', 'machinefeatures/total_cpu']);
  });

  test('a directory that everybody may write is refused and left as it is', () => {
    fs.mkdirSync(dir);
    fs.chmodSync(dir, 0o1777);
    assert.throws(
      open,
      (error: unknown) => error instanceof RuntimeDirError && /writable by everybody/.test(error.message),
    );
    assert.equal(fs.statSync(dir).mode & 0o7777, 0o1777);
  });

  test('a directory in the place of a key is cleared away', () => {
    const files = open();
    fs.mkdirSync(path.join(dir, 'machinefeatures/hs06/deep'), { recursive: true });
    files.publish(publication({ hs06: '10' }));
    assert.equal(text('machinefeatures/hs06'), '10\n');
  });

  test('what cannot be written is reported once, kept, and written when it can be', () => {
    const files = open();
    files.publish(publication({ hs06: '10' }));
    // A file where the directory for temporaries should be: fails for root too, unlike permissions.
    fs.rmSync(path.join(dir, '.tmp'), { recursive: true });
    fs.writeFileSync(path.join(dir, '.tmp'), '');
    assert.equal(files.publish(publication({ hs06: '11' })), false);
    assert.equal(files.flush(), false);
    assert.equal(errors.length, 1);
    assert.notEqual(files.broken(), null);
    assert.equal(text('machinefeatures/hs06'), '10\n');
    fs.rmSync(path.join(dir, '.tmp'));
    assert.equal(files.flush(), true);
    assert.equal(text('machinefeatures/hs06'), '11\n');
    assert.equal(recovered, 1);
  });

  test('writing gives way to signals after its bound, and the rest follows', () => {
    const files = open();
    const clock = [0, 0, 60];
    const slow = openFilePublisher({
      dir,
      now: () => ({ wall: 0, mono: clock.shift() ?? 60 }),
      onError: () => {},
      onRecovery: () => {},
    });
    assert.equal(slow.publish(publication({ hs06: '10', total_cpu: '8' })), false);
    assert.deepEqual(tree(), ['machinefeatures/hs06']);
    assert.equal(slow.flush(), true);
    assert.equal(text('machinefeatures/total_cpu'), '8\n');
    assert.equal(files.broken(), null);
  });

  test('a link or a file in place of the runtime directory is refused with a clear sentence', () => {
    fs.mkdirSync(path.join(base, 'elsewhere'));
    fs.symlinkSync(path.join(base, 'elsewhere'), dir);
    assert.throws(
      open,
      (error: unknown) => error instanceof RuntimeDirError && /not a directory of its own/.test(error.message),
    );
    fs.unlinkSync(dir);
    fs.writeFileSync(dir, '');
    assert.throws(open, (error: unknown) => error instanceof RuntimeDirError && /not a directory/.test(error.message));
  });

  test('SYSTEMS a host that mounted over our output: published beside it, the mount never touched, and back when it is gone', () => {
    const covered = new Set<string>();
    const files = openFilePublisher({
      dir,
      covered: () => new Set(covered),
      now: () => ({ wall: now, mono: now }),
      onError: (code) => errors.push(code),
      onRecovery: () => {},
    });
    files.publish(publication({ hs06: '10' }, { job_id: 'a' }));
    covered.add('machinefeatures');
    // What a host's share holds there, as the mount shows it.
    fs.writeFileSync(path.join(dir, 'machinefeatures/hs06'), 'the host wrote this\n');
    assert.equal(files.disturbed(), true);
    files.publish(publication({ hs06: '11' }, { job_id: 'a' }));
    assert.equal(files.disturbed(), false);
    assert.equal(text('machinefeatures/hs06'), 'the host wrote this\n');
    assert.equal(text('own/machinefeatures/hs06'), '11\n');
    assert.equal(text('jobfeatures/job_id'), 'a\n');
    covered.clear();
    files.publish(publication({ hs06: '11' }, { job_id: 'a' }));
    assert.equal(text('machinefeatures/hs06'), '11\n');
    assert.equal(fs.existsSync(path.join(dir, 'own')), false);
    assert.deepEqual(errors, []);
  });

  test("S5.1 the machine's answer is a directory of keys, always there, empty while there is no answer; a restart knows it", () => {
    const says = (canTerminate: MachineAnswer | null): Publication => {
      const { snapshot, payloads } = snapshotOf({ machine: { total_cpu: '8' } });
      return publicationOf({ ...snapshot, canTerminate }, payloads, null);
    };
    const files = open();
    assert.deepEqual(fs.readdirSync(path.join(dir, 'jobstatus')), []);
    assert.equal(fs.statSync(path.join(dir, 'jobstatus')).mode & 0o777, 0o755);
    const busy = { now: false, atMs: 1_766_450_000_001, mustNotUntilMs: 1_766_449_000_000, progress: 0.5 };
    files.publish(says(busy));
    assert.equal(files.disturbed(), false);
    assert.deepEqual(fs.readdirSync(path.join(dir, 'jobstatus')).sort(), [
      'can_terminate',
      'can_terminate_at',
      'must_not_terminate_until',
      'progress',
    ]);
    assert.deepEqual(
      [text('jobstatus/can_terminate'), text('jobstatus/can_terminate_at'), text('jobstatus/progress')],
      ['0\n', '1766450001\n', '0.5\n'],
    );
    const before = fs.statSync(path.join(dir, 'jobstatus/can_terminate')).ino;
    const again = open();
    again.publish(says({ ...busy, mustNotUntilMs: null, progress: null }));
    assert.equal(fs.statSync(path.join(dir, 'jobstatus/can_terminate')).ino, before, 'untouched over a restart');
    assert.deepEqual(fs.readdirSync(path.join(dir, 'jobstatus')).sort(), ['can_terminate', 'can_terminate_at']);
    fs.rmSync(path.join(dir, 'jobstatus/can_terminate'));
    assert.equal(again.disturbed(), true, 'somebody has removed it');
    again.publish(says(busy));
    assert.equal(text('jobstatus/can_terminate'), '0\n');
    again.publish(says(null));
    assert.deepEqual(fs.readdirSync(path.join(dir, 'jobstatus')), []);
    assert.equal(again.disturbed(), false);
  });

  test('S5.1 who sees a new lifetime.json finds the answer that it tells of', () => {
    const { snapshot, payloads } = snapshotOf({});
    const canTerminate = { now: true, atMs: null, mustNotUntilMs: null, progress: null };
    // Time for one file: the directories' keys come first.
    const clock = [0, 0, 60];
    const slow = openFilePublisher({
      dir,
      now: () => ({ wall: 0, mono: clock.shift() ?? 60 }),
      onError: () => {},
      onRecovery: () => {},
    });
    assert.equal(slow.publish(publicationOf({ ...snapshot, canTerminate }, payloads, null)), false);
    assert.deepEqual(tree(), ['jobstatus/can_terminate']);
  });

  test('unchanged truth is the very same publication: no event, no new tag', () => {
    const first = publication({ hs06: '10' });
    assert.equal(publication({ hs06: '10' }, {}, first), first);
    assert.notEqual(publication({ hs06: '11' }, {}, first).etag, first.etag);
  });
});
