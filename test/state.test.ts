import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { crc32Hex } from '../agent/checksum.ts';
import { openStateFile, type StateFileOptions } from '../agent/state.ts';

const log = pino({ level: 'silent' });
const BOOT_MS = 1_766_400_000_000;

function place(t: TestContext): string {
  const base = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-state-'));
  t.after(() => fs.rmSync(base, { recursive: true, force: true }));
  return path.join(base, 'state');
}

function open(dir: string, changes: Partial<StateFileOptions> = {}) {
  const errors: string[] = [];
  const options: StateFileOptions = {
    dir,
    machineId: '11111111-0000-4000-8000-000000000001',
    bootId: 'boot-1',
    log,
    onError: (code) => errors.push(code),
    nowMs: BOOT_MS + 60_000,
    bootWallMs: BOOT_MS,
    ...changes,
  };
  return { state: openStateFile(options), errors };
}

async function written(dir: string, entries: Readonly<Record<string, unknown>>): Promise<void> {
  const { state } = open(dir);
  state.save(new Map(Object.entries(entries)));
  await state.flush();
}

test('S4.1 the first start writes the first boot at once, into a directory of mode 0700', async (t) => {
  const dir = place(t);
  const { state, errors } = open(dir);
  assert.deepEqual(state.restored, { sameBoot: false, entries: new Map(), firstBootMs: BOOT_MS });
  assert.equal(state.damage, null);
  await state.flush();
  assert.equal(fs.statSync(dir).mode & 0o777, 0o700);
  const document = JSON.parse(fs.readFileSync(path.join(dir, 'state.json'), 'utf8'));
  assert.deepEqual(
    { ...document, checksum: null },
    {
      version: 1,
      machine: '11111111-0000-4000-8000-000000000001',
      boot: 'boot-1',
      first_boot_ms: BOOT_MS,
      entries: {},
      checksum: null,
    },
  );
  assert.deepEqual(errors, []);
  assert.deepEqual(fs.readdirSync(dir), ['state.json']);
});

test('S4.1 entries and the first boot outlive a boot; whether it is the same boot is said', async (t) => {
  const dir = place(t);
  await written(dir, { 'source/ec2': { deadlineMs: 5 }, operator: ['ü'] });
  const entries = new Map<string, unknown>([
    ['source/ec2', { deadlineMs: 5 }],
    ['operator', ['ü']],
  ]);
  assert.deepEqual(open(dir).state.restored, { sameBoot: true, entries, firstBootMs: BOOT_MS });
  const later = open(dir, { bootId: 'boot-2', bootWallMs: BOOT_MS + 86_400_000 });
  assert.deepEqual(later.state.restored, { sameBoot: false, entries, firstBootMs: BOOT_MS });
  later.state.save(new Map());
  await later.state.flush();
  const last = open(dir, { bootId: 'boot-2', bootWallMs: BOOT_MS + 86_400_000 });
  assert.deepEqual(last.state.restored, { sameBoot: true, entries: new Map(), firstBootMs: BOOT_MS });
});

test('S1.2 a first boot that is corrected with the clock is written down, also where nothing else has changed', async (t) => {
  const dir = place(t);
  await written(dir, { operator: 1 });
  const { state } = open(dir);
  state.save(new Map([['operator', 1]]), BOOT_MS + 3_600_000);
  state.save(new Map([['operator', 1]]));
  await state.flush();
  for (const bootId of ['boot-1', 'boot-2'])
    assert.equal(open(dir, { bootId }).state.restored.firstBootMs, BOOT_MS + 3_600_000);
});

test('S4.1 the state of another machine (cloned image) is set aside, its first boot is forgotten', async (t) => {
  const dir = place(t);
  await written(dir, { operator: 1 });
  const { state } = open(dir, { machineId: '22222222-0000-4000-8000-000000000002', bootId: 'boot-9', bootWallMs: 7 });
  assert.deepEqual(state.restored, { sameBoot: false, entries: new Map(), firstBootMs: 7 });
  assert.equal(state.damage, null);
  await state.flush();
  assert.deepEqual(fs.readdirSync(dir).sort(), ['state.json', 'state.json.other-machine']);
});

test('S4.1 the same boot read with other rights (no DMI UUID) is the same machine; another boot is not', async (t) => {
  const dir = place(t);
  await written(dir, { operator: 1 });
  const machineId = '0123456789abcdef0123456789abcdef';
  assert.equal(open(dir, { machineId }).state.restored.entries.get('operator'), 1);
  assert.equal(open(dir, { machineId: 'unknown' }).state.restored.entries.get('operator'), 1);
  const { state } = open(dir, { machineId, bootId: 'boot-2' });
  assert.equal(state.restored.entries.size, 0);
  await state.flush();
});

test('truncated at any byte: set aside, reported, never fatal, and written anew', async (t) => {
  const dir = place(t);
  await written(dir, { operator: { reason: 'wartung ü' } });
  const file = path.join(dir, 'state.json');
  const whole = fs.readFileSync(file);
  for (let length = 0; length < whole.length; length += 1) {
    fs.writeFileSync(file, whole.subarray(0, length));
    const { state, errors } = open(dir, { bootWallMs: 9 });
    assert.equal(state.damage, 'truncated', `at ${length}`);
    assert.deepEqual(state.restored, { sameBoot: false, entries: new Map(), firstBootMs: 9 });
    assert.deepEqual(fs.readFileSync(`${file}.damaged`), whole.subarray(0, length));
    await state.flush();
    assert.deepEqual(errors, []);
    assert.equal(open(dir).state.damage, null);
  }
  assert.deepEqual(fs.readdirSync(dir).sort(), ['state.json', 'state.json.damaged']);
});

test('any byte changed is noticed', async (t) => {
  const dir = place(t);
  await written(dir, { operator: 1 });
  const file = path.join(dir, 'state.json');
  const whole = fs.readFileSync(file);
  for (let at = 0; at < whole.length; at += 1) {
    const bytes = Buffer.from(whole);
    bytes[at] = (bytes[at] ?? 0) ^ 0x04;
    fs.writeFileSync(file, bytes);
    const { state } = open(dir);
    assert.notEqual(state.damage, null, `at ${at}`);
    assert.equal(state.restored.entries.size, 0);
    await state.flush();
  }
});

test('a newer version, a directory, a pipe in its place and a wrong shape are set aside', async (t) => {
  const body = '{"version":1,"machine":"m","boot":"b","first_boot_ms":"soon","entries":{}';
  const shape = `${body},"checksum":"${crc32Hex(Buffer.from(body))}"}\n`;
  const cases: readonly (readonly [string, (file: string) => void])[] = [
    ['unknown_version', (file) => fs.writeFileSync(file, '{"version":2,"anything":[]}\n')],
    ['not_a_file', (file) => fs.mkdirSync(file)],
    ['not_a_file', (file) => assert.equal(spawnSync('mkfifo', [file]).status, 0)],
    ['damaged', (file) => fs.writeFileSync(file, shape)],
  ];
  for (const [damage, make] of cases) {
    const dir = place(t);
    fs.mkdirSync(dir);
    make(path.join(dir, 'state.json'));
    const { state, errors } = open(dir);
    assert.equal(state.damage, damage);
    await state.flush();
    assert.deepEqual(errors, [], damage);
    assert.equal(open(dir).state.damage, null);
    assert.ok(fs.existsSync(path.join(dir, 'state.json.damaged')));
  }
});

test('of several saves in one tick the latest is written, once', async (t) => {
  const dir = place(t);
  const { state } = open(dir);
  const renames = t.mock.method(fs.promises, 'rename');
  const entries = new Map<string, unknown>();
  for (let n = 0; n < 100; n += 1) state.save(entries.set('n', n));
  entries.set('n', 'changed after save');
  await state.flush();
  assert.equal(renames.mock.callCount(), 1);
  assert.equal(open(dir).state.restored.entries.get('n'), 99);
  state.save(new Map([['n', 99]]));
  await state.flush();
  assert.equal(renames.mock.callCount(), 1, 'the same content is not written again');
});

test('never two writes at a time, and a save during a write is not lost', async (t) => {
  const dir = place(t);
  const { state } = open(dir);
  await state.flush();
  const { rename } = fs.promises;
  let atOnce = 0;
  let most = 0;
  let during: (() => void) | null = () => state.save(new Map([['n', 2]]));
  t.mock.method(fs.promises, 'rename', async (from: string, to: string) => {
    atOnce += 1;
    most = Math.max(most, atOnce);
    during?.();
    during = null;
    await rename(from, to);
    atOnce -= 1;
  });
  state.save(new Map([['n', 1]]));
  await state.flush();
  assert.equal(most, 1);
  assert.equal(open(dir).state.restored.entries.get('n'), 2);
});

test('what cannot be written is reported once, goes on without, and is whole when it can be written again', async (t) => {
  const dir = place(t);
  fs.writeFileSync(dir, 'a file where the directory should be');
  const { state, errors } = open(dir);
  assert.equal(state.restored.firstBootMs, BOOT_MS);
  for (let n = 0; n < 3; n += 1) {
    state.save(new Map([['n', n]]));
    await state.flush();
  }
  assert.equal(errors.length, 1);
  fs.unlinkSync(dir);
  state.save(new Map([['n', 2]]));
  await state.flush();
  assert.equal(open(dir).state.restored.entries.get('n'), 2);
  assert.equal(errors.length, 1);
});

test('a failed write leaves the old content and no temporary file', async (t) => {
  const dir = place(t);
  await written(dir, { n: 1 });
  const { state, errors } = open(dir);
  const failing = t.mock.method(fs.promises, 'rename', async () => {
    throw Object.assign(new Error('EROFS: read-only file system'), { code: 'EROFS' });
  });
  state.save(new Map([['n', 2]]));
  await state.flush();
  assert.deepEqual(errors, ['erofs']);
  assert.deepEqual(fs.readdirSync(dir), ['state.json']);
  failing.mock.restore();
  assert.equal(open(dir).state.restored.entries.get('n'), 1);
  state.save(new Map<string, unknown>([['n', 2n]]));
  await state.flush();
  assert.deepEqual(errors, ['erofs']);
  assert.equal(open(dir).state.restored.entries.get('n'), 1);
});
