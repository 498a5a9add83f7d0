/** The standalone executable (npm run build:standalone), where it has been built: it starts itself, and needs nobody's Node. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { killAtExit, WAIT_MS } from '../support/program.ts';

const ROOT = path.resolve(import.meta.dirname ?? __dirname, '../..');
const EXECUTABLE = path.join(ROOT, 'dist/mjf-agent');
const skip = fs.existsSync(EXECUTABLE) ? false : 'needs "npm run build:standalone"';
/** It runs where there is no node, and with options that are meant for another one. */
const env = { PATH: '/usr/bin:/bin', NODE_OPTIONS: '--no-such-option' };
const BUILD_MS = 120_000;

describe('the standalone executable', { skip }, () => {
  it('is what the sources give now, byte for byte, in another directory', (t) => {
    const directory = temporary(t);
    execFileSync(process.execPath, [path.join(ROOT, 'packaging/standalone.mjs'), directory], {
      cwd: directory,
      timeout: BUILD_MS,
    });
    // What lies in dist/ may be older than the sources: it is built twice where it differs.
    if (hash(path.join(directory, 'mjf-agent')) === hash(EXECUTABLE)) return;
    const again = temporary(t);
    execFileSync(process.execPath, [path.join(ROOT, 'packaging/standalone.mjs'), again], { timeout: BUILD_MS });
    assert.equal(hash(path.join(again, 'mjf-agent')), hash(path.join(directory, 'mjf-agent')));
  });

  it('knows its version, called by its path, through $PATH and through a link', (t) => {
    const directory = temporary(t);
    fs.symlinkSync(EXECUTABLE, path.join(directory, 'linked'));
    const { version } = JSON.parse(fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8'));
    for (const command of [EXECUTABLE, 'mjf-agent', path.join(directory, 'linked')]) {
      const PATH = `${path.dirname(EXECUTABLE)}:${env.PATH}`;
      assert.equal(
        execFileSync(command, ['--version'], { env: { ...env, PATH }, encoding: 'utf8' }),
        `mjf-agent ${version}\n`,
      );
    }
  });

  it('gives its payload the environment as it was, NODE_OPTIONS too', () => {
    const out = execFileSync(EXECUTABLE, ['exec', '--runtime-dir', '/nonexistent', '--', 'printenv', 'NODE_OPTIONS'], {
      env,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    assert.equal(out, '--no-such-option\n');
  });

  it('runs the daemon, started through $PATH, with a reader child of its own', async (t) => {
    const directory = temporary(t);
    const host = path.join(directory, 'machinefeatures');
    fs.mkdirSync(host);
    fs.writeFileSync(path.join(host, 'total_cpu'), '8\n');
    fs.writeFileSync(
      path.join(directory, 'config.toml'),
      `sources = ["directory"]\n[source.directory]\nmachinefeatures = "${host}"\nreader = "child"\n[publish]\nlink_etc = false\n`,
    );
    const places = ['--runtime-dir', path.join(directory, 'run'), '--state-dir', path.join(directory, 'state')];
    const daemon = spawn(
      'mjf-agent',
      ['run', '--config', path.join(directory, 'config.toml'), ...places, '--listen', '127.0.0.1:0'],
      {
        cwd: '/',
        env: { ...env, PATH: `${path.dirname(EXECUTABLE)}:${env.PATH}` },
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    killAtExit(daemon);
    const ended = once(daemon, 'exit');
    for await (const line of createInterface({ input: daemon.stdout })) if (line.includes('"event":"ready"')) break;
    const published = path.join(directory, 'run/machinefeatures/total_cpu');
    for (const end = Date.now() + WAIT_MS; !fs.existsSync(published) && Date.now() < end; ) await sleep(50);
    assert.equal(fs.readFileSync(published, 'utf8'), '8\n');
    daemon.kill('SIGUSR1');
    daemon.kill('SIGTERM');
    assert.deepEqual(await ended, [0, null]);
  });
});

function temporary(t: { after(done: () => void): void }): string {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-standalone-'));
  t.after(() => fs.rmSync(directory, { recursive: true }));
  return directory;
}

const hash = (file: string): string => createHash('sha256').update(fs.readFileSync(file)).digest('hex');
