import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { isJournal, withPriority } from '../agent/log/journal.ts';
import { createLog } from '../agent/log.ts';
import { PROGRAM } from './support/program.ts';

test('each line says in front how grave it is, and is the same JSON behind that', () => {
  const lines: string[] = [];
  const { log } = createLog({
    level: 'debug',
    tty: false,
    journal: true,
    stream: { write: (text) => lines.push(text) },
  });
  log.debug({ event: 'a' }, 'x');
  log.info({ event: 'b' }, 'x');
  log.warn({ event: 'c', level: 'odd' }, 'x');
  log.error({ event: 'd' }, 'x');
  assert.deepEqual(
    lines.map((line) => [line.slice(0, 3), JSON.parse(line.slice(3)).event]),
    [
      ['<7>', 'a'],
      ['<6>', 'b'],
      ['<4>', 'c'],
      ['<3>', 'd'],
    ],
  );
  assert.equal(withPriority('no line of ours\n'), 'no line of ours\n');
});

test('only where the output is the very stream that systemd has opened', () => {
  const { dev, ino } = fs.fstatSync(0, { bigint: true });
  assert.equal(isJournal(0, { JOURNAL_STREAM: `${dev}:${ino}` }), true);
  assert.equal(isJournal(0, { JOURNAL_STREAM: `${dev}:${ino}1` }), false, 'redirected since');
  assert.equal(isJournal(0, { JOURNAL_STREAM: '' }), false);
  assert.equal(isJournal(0, {}), false);
  assert.equal(isJournal(987_654, { JOURNAL_STREAM: '1:1' }), false, 'closed');
});

test('a configuration that is refused is an error in the journal', (t) => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-journal-'));
  t.after(() => fs.rmSync(dir, { recursive: true }));
  const config = path.join(dir, 'config.toml');
  fs.writeFileSync(config, 'nonsense = 1\n');
  const stderr = path.join(dir, 'stderr');
  const fd = fs.openSync(stderr, 'w');
  const { dev, ino } = fs.fstatSync(fd, { bigint: true });
  const env = { PATH: process.env['PATH'], JOURNAL_STREAM: `${dev}:${ino}` };
  const { status } = spawnSync(process.execPath, [PROGRAM, 'run', '--config', config], {
    env,
    stdio: ['ignore', 'ignore', fd],
    timeout: 30_000,
  });
  fs.closeSync(fd);
  assert.equal(status, 78);
  assert.match(fs.readFileSync(stderr, 'utf8'), /^<3>mjf-agent: .*nonsense/);
});
