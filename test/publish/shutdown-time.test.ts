import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import pino from 'pino';
import { shutdownTimeFile } from '../../agent/publish/shutdown-time.ts';

describe('shutdown_time_file', () => {
  let base: string;
  let file: string;
  let lines: string[];
  const log = () => pino({ base: null }, { write: (line: string) => lines.push(line) });

  beforeEach(() => {
    base = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-shutdown-'));
    file = path.join(base, 'shutdown_time');
    lines = [];
  });
  afterEach(() => fs.rmSync(base, { recursive: true, force: true }));

  test('appears with a deadline and goes with it', () => {
    const show = shutdownTimeFile(file, log());
    show('1766450000');
    assert.equal(fs.readFileSync(file, 'utf8'), '1766450000\n');
    show(undefined);
    assert.equal(fs.existsSync(file), false);
  });

  test('what a former run left is taken away when nothing is foreseen any more', () => {
    fs.writeFileSync(file, '1766450000\n');
    shutdownTimeFile(file, log())(undefined);
    assert.equal(fs.existsSync(file), false);
  });

  test('a directory or a link of that name is left alone, with one line in the log, and well again afterwards', () => {
    fs.mkdirSync(path.join(file, 'precious'), { recursive: true });
    const show = shutdownTimeFile(file, log());
    show('1766450000');
    show(undefined);
    assert.ok(fs.existsSync(path.join(file, 'precious')));
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? '', /not_a_file/);
    fs.rmSync(file, { recursive: true });
    fs.writeFileSync(path.join(base, 'victim'), 'kept');
    fs.symlinkSync(path.join(base, 'victim'), file);
    show('1766450000');
    assert.equal(fs.readFileSync(path.join(base, 'victim'), 'utf8'), 'kept');
    fs.unlinkSync(file);
    show('1766450000');
    assert.equal(fs.readFileSync(file, 'utf8'), '1766450000\n');
    assert.match(lines.at(-1) ?? '', /recovered/);
  });
});
