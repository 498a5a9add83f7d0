import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { pino } from 'pino';
import { type Journal, type JournalOptions, type OpenedJournal, openJournal } from '../agent/journal.ts';
import type { StepResultReport } from '../agent/lifetime/types.ts';

const log = pino({ level: 'silent' });
const BOOT = '6e1f2f3c-0000-4000-8000-000000000001';

function place(t: TestContext): string {
  const base = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-journal-'));
  t.after(() => fs.rmSync(base, { recursive: true, force: true }));
  return path.join(base, 'state');
}

function open(dir: string, changes: Partial<JournalOptions> = {}): OpenedJournal & { readonly errors: string[] } {
  const errors: string[] = [];
  const opened = openJournal({ dir, bootId: BOOT, log, onError: (code) => errors.push(code), ...changes });
  return { ...opened, errors };
}

function report(id: string, index: number, changes: Partial<StepResultReport> = {}): StepResultReport {
  const step = { episode: 1, index, signal: 'SIGTERM' };
  return { id, step, outcome: 'delivered', at: { wall: 1_766_440_000_000 + index, mono: index }, ...changes };
}

/** Opens, looks and closes again. */
function restored(dir: string, changes: Partial<JournalOptions> = {}) {
  const { journal, restored: found, damage } = open(dir, changes);
  journal.close();
  return { entries: found === null ? null : Object.fromEntries(found.entries), done: found?.done ?? null, damage };
}

/** A history of every kind of record, one a line below the header. */
function write(journal: Journal): void {
  journal.put([
    { key: 'source/directory', value: { deadlineMs: 1 } },
    { key: 'payload/a', value: { episode: 1, name: 'ü ✓ "\n' } },
  ]);
  journal.done(report('a', 0));
  journal.put([{ key: 'payload/b', value: { episode: 2 } }]);
  journal.done(report('b', 0));
  journal.put([{ key: 'source/directory', value: null }]);
}

test('a new directory is made with mode 0700, an empty journal restores nothing', (t) => {
  const dir = place(t);
  const first = open(dir);
  assert.equal(first.restored, null);
  assert.equal(first.damage, null);
  assert.equal(fs.statSync(dir).mode & 0o777, 0o700);
  first.journal.close();
  assert.deepEqual(restored(dir), { entries: {}, done: [], damage: null });
});

test('S3.6 what was put and done is there after a crash: last value by key, deleted keys gone', (t) => {
  const dir = place(t);
  write(open(dir).journal);
  assert.deepEqual(restored(dir), {
    entries: { 'payload/a': { episode: 1, name: 'ü ✓ "\n' }, 'payload/b': { episode: 2 } },
    done: [report('a', 0), report('b', 0)],
    damage: null,
  });
});

test('S3.6 a put of the payload supersedes the steps done before it, and only those', (t) => {
  const dir = place(t);
  const { journal } = open(dir);
  journal.put([
    { key: 'payload/a', value: 1 },
    { key: 'payload/b', value: 1 },
  ]);
  journal.done(report('a', 0));
  journal.done(report('b', 0));
  journal.put([{ key: 'payload/a', value: 2 }]);
  journal.done(report('a', 1));
  const expected = {
    entries: { 'payload/a': 2, 'payload/b': 1 },
    done: [report('b', 0), report('a', 1)],
    damage: null,
  };
  assert.deepEqual(restored(dir), expected);
  journal.compact();
  journal.close();
  assert.deepEqual(restored(dir), expected);
});

test('another boot: nothing is restored and the old log is replaced', (t) => {
  const dir = place(t);
  write(open(dir).journal);
  assert.deepEqual(restored(dir, { bootId: 'another' }), { entries: null, done: null, damage: null });
  assert.equal(restored(dir).entries, null);
  assert.deepEqual(fs.readdirSync(dir), ['journal.log']);
});

test('one append for all entries of a put', (t) => {
  const dir = place(t);
  const { journal } = open(dir);
  const writes = t.mock.method(fs, 'writeSync');
  journal.put(Array.from({ length: 50 }, (_, n) => ({ key: `payload/${n}`, value: n })));
  assert.equal(writes.mock.callCount(), 1);
  journal.close();
});

test('truncated at every byte: a prefix of the records comes back, and the torn rest is cut off and reported', (t) => {
  const dir = place(t);
  write(open(dir).journal);
  const file = path.join(dir, 'journal.log');
  const whole = fs.readFileSync(file);
  const ends = [...whole.keys()].filter((at) => whole[at] === 0x0a).map((at) => at + 1);
  const prefixes = [
    { entries: {}, done: [] as StepResultReport[] },
    { entries: { 'source/directory': { deadlineMs: 1 } }, done: [] },
  ];
  for (let length = 0; length <= whole.length; length += 1) {
    fs.writeFileSync(file, whole.subarray(0, length));
    const records = ends.filter((end) => end <= length).length - 1;
    const found = restored(dir);
    assert.equal(found.damage, ends.includes(length) ? null : 'torn_tail', `damage at ${length}`);
    if (records < 0) assert.equal(found.entries, null, `header torn at ${length}`);
    const expected = prefixes[records];
    if (expected !== undefined) assert.deepEqual({ ...found, damage: null }, { ...expected, damage: null });
    if (records >= 3) assert.deepEqual(found.done?.[0], report('a', 0));
    if (records >= 0) assert.deepEqual(restored(dir), { ...found, damage: null }, `cut off at ${length}`);
  }
  assert.deepEqual(fs.readdirSync(dir), ['journal.log']);
});

test('any byte changed: never fatal, at most the records it touches are lost, the file is set aside and reported', (t) => {
  const dir = place(t);
  const { journal } = open(dir);
  const keys = Array.from({ length: 12 }, (_, n) => `payload/${n}`);
  for (const key of keys) journal.put([{ key, value: { key } }]);
  journal.close();
  const file = path.join(dir, 'journal.log');
  const whole = fs.readFileSync(file);
  fc.assert(
    fc.property(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const bytes = Buffer.from(whole);
      bytes[at] = (bytes[at] ?? 0) ^ change;
      fs.writeFileSync(file, bytes);
      const found = restored(dir);
      assert.notEqual(found.damage, null);
      const entries = found.entries ?? {};
      for (const [key, value] of Object.entries(entries)) assert.deepEqual(value, { key });
      // A changed newline joins two lines, or the header and the first.
      assert.ok(Object.keys(entries).length >= keys.length - 2, `${Object.keys(entries).length} left`);
      if (found.damage !== 'torn_tail') assert.deepEqual(fs.readFileSync(`${file}.damaged`), bytes);
      assert.deepEqual(restored(dir), { ...found, damage: null });
    }),
    { numRuns: 300 },
  );
  assert.deepEqual(fs.readdirSync(dir).sort(), ['journal.log', 'journal.log.damaged']);
});

test('what stands in place of the log (garbage, link, directory, newer version) is set aside', (t) => {
  const elsewhere = path.join(path.dirname(place(t)), 'elsewhere');
  fs.writeFileSync(elsewhere, 'precious');
  const cases: readonly (readonly [string, string, (file: string) => void])[] = [
    ['garbage', 'damaged_header', (file) => fs.writeFileSync(file, Buffer.alloc(100_000, 'x\n'))],
    ['a link', 'not_a_file', (file) => fs.symlinkSync(elsewhere, file)],
    ['a directory', 'not_a_file', (file) => fs.mkdirSync(path.join(file, 'below'), { recursive: true })],
    ['a newer version', 'unknown_version', (file) => fs.writeFileSync(file, '5a1dc9f0 {"version":2}\n')],
  ];
  for (const [name, damage, make] of cases) {
    const dir = place(t);
    fs.mkdirSync(dir);
    make(path.join(dir, 'journal.log'));
    const { journal, ...opened } = open(dir);
    assert.equal(opened.damage, damage, name);
    assert.equal(opened.restored, null, name);
    assert.deepEqual(opened.errors, [], name);
    journal.put([{ key: 'payload/a', value: 1 }]);
    assert.deepEqual(restored(dir).entries, { 'payload/a': 1 }, name);
    assert.deepEqual(fs.readdirSync(dir).sort(), ['journal.log', 'journal.log.damaged'], name);
    journal.close();
  }
  assert.equal(fs.readFileSync(elsewhere, 'utf8'), 'precious');
});

test('a directory that is a link, a file or another user’s is refused with its code; everything else goes on', (t) => {
  const base = path.dirname(place(t));
  const target = path.join(base, 'target');
  fs.mkdirSync(target);
  fs.symlinkSync(target, path.join(base, 'link'));
  fs.writeFileSync(path.join(base, 'file'), '');
  fs.mkdirSync(path.join(base, 'foreign'));
  const cases = [
    ['link', 'dir_symlink'],
    ['link/', 'dir_symlink'],
    ['file', 'dir_not_directory'],
  ];
  if (process.getuid?.() === 0) {
    fs.chownSync(path.join(base, 'foreign'), 65534, 65534);
    cases.push(['foreign', 'dir_not_owned']);
  } else t.diagnostic('not root: a directory of another owner cannot be made');
  for (const [name, code] of cases) {
    const { journal, errors, restored: found } = open(`${base}/${name}`);
    write(journal);
    journal.compact();
    assert.deepEqual(errors, [code]);
    assert.equal(found, null);
    assert.ok(journal.broken());
    journal.close();
  }
  assert.deepEqual(fs.readdirSync(target), []);
  assert.deepEqual(fs.readdirSync(path.join(base, 'foreign')), []);
});

test('compaction: only beyond maxBytes and twice the live size; nothing is lost by it', (t) => {
  const dir = place(t);
  const { journal } = open(dir, { maxBytes: 4096 });
  const renames = t.mock.method(fs, 'renameSync');
  const file = path.join(dir, 'journal.log');
  journal.put([{ key: 'source/big', value: 'x'.repeat(5000) }]);
  assert.equal(renames.mock.callCount(), 0, 'beyond maxBytes, but all of it alive');
  for (let n = 0; n < 500; n += 1) {
    journal.put([{ key: 'payload/a', value: n }]);
    journal.done(report('a', n));
    assert.ok(fs.statSync(file).size < 2 * 5300 + 200);
  }
  assert.ok(renames.mock.callCount() > 0);
  const found = restored(dir);
  assert.deepEqual(found.entries, { 'source/big': 'x'.repeat(5000), 'payload/a': 499 });
  assert.deepEqual(found.done, [report('a', 499)]);
  journal.close();
});

test('a crash at any point of a compaction leaves the old log or the new one', (t) => {
  const dir = place(t);
  const { journal } = open(dir);
  write(journal);
  journal.put([{ key: 'payload/a', value: 'last' }]);
  journal.close();
  const expected = restored(dir);
  let snapshots = 0;
  const look = () => {
    const copy = path.join(path.dirname(dir), `copy${snapshots}`);
    snapshots += 1;
    fs.cpSync(dir, copy, { recursive: true });
    assert.deepEqual(restored(copy), expected);
  };
  const again = open(dir);
  for (const name of ['openSync', 'writeSync', 'renameSync', 'closeSync'] as const) {
    const plain: (...args: never[]) => unknown = fs[name];
    let inside = false;
    t.mock.method(fs, name, (...args: never[]) => {
      const outermost = !inside && !fs.existsSync(path.join(path.dirname(dir), 'looking'));
      inside = true;
      try {
        if (outermost) lookOnce();
        const result = plain(...args);
        if (outermost) lookOnce();
        return result;
      } finally {
        inside = false;
      }
    });
  }
  // Looking uses the same functions; the mark keeps it from looking at itself.
  function lookOnce() {
    const mark = path.join(path.dirname(dir), 'looking');
    fs.mkdirSync(mark);
    look();
    fs.rmdirSync(mark);
  }
  again.journal.compact();
  t.mock.restoreAll();
  again.journal.close();
  assert.ok(snapshots >= 8, `${snapshots} moments looked at`);
  assert.deepEqual(restored(dir), expected);
});

test('a write error is reported once; the state comes back whole when there is room again', (t) => {
  const dir = place(t);
  const { journal, errors } = open(dir);
  journal.put([{ key: 'payload/a', value: 1 }]);
  const full = t.mock.method(fs, 'writeSync', (fd: number, bytes: Buffer) => {
    // Half of it goes in, as on a disk that fills up.
    if (full.mock.callCount() === 0) return fs.writevSync(fd, [bytes.subarray(0, 10)]);
    throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
  });
  journal.put([{ key: 'payload/a', value: 2 }]);
  journal.done(report('a', 0));
  journal.put([{ key: 'payload/b', value: 2 }]);
  assert.deepEqual(errors, ['enospc']);
  assert.ok(journal.broken());
  const copy = `${dir}-copy`;
  fs.cpSync(dir, copy, { recursive: true });
  full.mock.restore();
  assert.deepEqual(restored(copy), { entries: { 'payload/a': 1 }, done: [], damage: 'torn_tail' });
  journal.put([{ key: 'payload/c', value: 3 }]);
  assert.ok(!journal.broken());
  assert.deepEqual(restored(dir), {
    entries: { 'payload/a': 2, 'payload/b': 2, 'payload/c': 3 },
    done: [report('a', 0)],
    damage: null,
  });
  assert.deepEqual(errors, ['enospc']);
  journal.close();
});

test('a full tmpfs, for real: puts go on without an error, and are whole once there is room', (t) => {
  const dir = place(t);
  fs.mkdirSync(dir);
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k,mode=0700', 'tmpfs', dir]);
  if (mounted.status !== 0) return t.skip('a tmpfs cannot be mounted here (not root)');
  const { journal, errors } = open(dir);
  try {
    fs.writeFileSync(path.join(dir, 'filler'), Buffer.alloc(48 * 1024));
    for (let n = 0; n < 20; n += 1) journal.put([{ key: `source/${n}`, value: 'x'.repeat(1000) }]);
    assert.deepEqual(errors, ['enospc']);
    assert.ok(journal.broken());
    fs.unlinkSync(path.join(dir, 'filler'));
    journal.put([{ key: 'payload/a', value: 1 }]);
    assert.ok(!journal.broken());
    assert.equal(Object.keys(restored(dir).entries ?? {}).length, 21);
  } finally {
    journal.close();
    assert.equal(spawnSync('umount', [dir]).status, 0);
  }
});

test('a log that was taken away is written anew by the next put', (t) => {
  const dir = place(t);
  const { journal, errors } = open(dir);
  journal.put([{ key: 'payload/a', value: 1 }]);
  fs.rmSync(dir, { recursive: true });
  journal.put([{ key: 'payload/b', value: 2 }]);
  assert.deepEqual(restored(dir).entries, { 'payload/a': 1, 'payload/b': 2 });
  assert.deepEqual(errors, []);
  journal.close();
});

test('a value that is no JSON is left out and reported, the others of the put are written', (t) => {
  const dir = place(t);
  const { journal, errors } = open(dir);
  journal.put([
    { key: 'payload/a', value: 1n },
    { key: 'payload/b', value: 2 },
  ]);
  assert.deepEqual(errors, ['not_json']);
  assert.ok(!journal.broken());
  assert.deepEqual(restored(dir).entries, { 'payload/b': 2 });
  journal.close();
});

test('any history, restored at any of its moments, compacted or not, is what a plain map says', (t) => {
  const dir = place(t);
  const id = fc.constantFrom('a', 'b', 'c');
  const action = fc.oneof(
    fc.record({ do: fc.constant('put' as const), id, value: fc.option(fc.jsonValue(), { nil: null }) }),
    fc.record({ do: fc.constant('done' as const), id, index: fc.nat(5) }),
    fc.record({ do: fc.constant('compact' as const) }),
    fc.record({ do: fc.constant('restart' as const) }),
  );
  fc.assert(
    fc.property(fc.array(action, { maxLength: 25 }), (actions) => {
      fs.rmSync(dir, { recursive: true, force: true });
      let { journal } = open(dir, { maxBytes: 300 });
      const entries = new Map<string, unknown>();
      let done: StepResultReport[] = [];
      for (const one of actions) {
        if (one.do === 'put') {
          journal.put([{ key: `payload/${one.id}`, value: one.value }]);
          if (one.value === null) entries.delete(`payload/${one.id}`);
          else entries.set(`payload/${one.id}`, JSON.parse(JSON.stringify(one.value)));
          done = done.filter((report) => report.id !== one.id);
        } else if (one.do === 'done') {
          journal.done(report(one.id, one.index));
          done = [...done, report(one.id, one.index)];
        } else if (one.do === 'compact') journal.compact();
        else {
          journal.close();
          journal = open(dir, { maxBytes: 300 }).journal;
        }
      }
      journal.close();
      const found = restored(dir);
      assert.deepEqual(found.entries, Object.fromEntries(entries));
      for (const name of ['a', 'b', 'c']) {
        const of = (reports: readonly StepResultReport[]) => reports.filter((report) => report.id === name);
        assert.deepEqual(of(found.done ?? []), of(done));
      }
      assert.equal(found.damage, null);
    }),
    { numRuns: 150 },
  );
});
