/** profile.d in the shells that read it, as strict as a site may have made them: a log-in must not fail for us. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';

const PROFILE = fileURLToPath(new URL('../../packaging/profile.d/', import.meta.url));
const RUNTIME = '/run/mjf-agent';
const URL_LINE = 'http://127.0.0.1:8653';

/** How each one is told to stop at the first error and at the first unset variable. */
const SHELLS = {
  sh: ['sh', '-euc'],
  bash: ['bash', '--norc', '-euc'],
  dash: ['dash', '-euc'],
  zsh: ['zsh', '-feuc'],
  ksh: ['ksh', '-euc'],
  tcsh: ['tcsh', '-fec'],
} as const;
type Shell = keyof typeof SHELLS;

const lacks = (tool: string): string | false =>
  spawnSync('sh', ['-c', `command -v ${tool}`]).status === 0 ? false : `needs ${tool}`;

/** What a log-in exports, with the daemon's directory elsewhere; `url` null: no file. */
function logIn(t: TestContext, shell: Shell, url: string | null, set: Readonly<Record<string, string>> = {}) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-profile-'));
  t.after(() => fs.rmSync(dir, { recursive: true }));
  for (const kind of ['machinefeatures', 'jobfeatures']) fs.mkdirSync(path.join(dir, kind));
  if (url !== null) fs.writeFileSync(path.join(dir, 'url'), url);
  const name = shell === 'tcsh' ? 'mjf.csh' : 'mjf.sh';
  const file = path.join(dir, name);
  fs.writeFileSync(file, fs.readFileSync(path.join(PROFILE, name), 'utf8').replaceAll(RUNTIME, dir));
  const [command, ...options] = SHELLS[shell];
  const source = shell === 'tcsh' ? 'source' : '.';
  const { status, stdout, stderr } = spawnSync(command, [...options, `${source} ${file}; env`], {
    encoding: 'utf8',
    env: { PATH: process.env['PATH'], ...set },
    timeout: 60_000,
  });
  assert.deepEqual([status, stderr], [0, '']);
  return Object.fromEntries(
    stdout
      .split('\n')
      .filter((line) => /^(MACHINEFEATURES|JOBFEATURES|JOBOUTPUTS)=/.test(line))
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1).replace(dir, RUNTIME)]),
  );
}

for (const shell of Object.keys(SHELLS) as Shell[]) {
  describe(`profile.d in ${shell}`, { skip: lacks(shell) }, () => {
    const places = { MACHINEFEATURES: `${RUNTIME}/machinefeatures`, JOBFEATURES: `${RUNTIME}/jobfeatures` };

    it('exports the three places', (t) => {
      assert.deepEqual(logIn(t, shell, `${URL_LINE}\n`), { ...places, JOBOUTPUTS: `${URL_LINE}/joboutputs` });
    });
    it('leaves what is set', (t) => {
      const set = { MACHINEFEATURES: '/site/mf', JOBOUTPUTS: 'https://site.example/jo' };
      assert.deepEqual(logIn(t, shell, URL_LINE, set), { ...places, ...set });
    });
    it('knows no way back where the agent has none, or has just gone', (t) => {
      for (const url of [null, '']) assert.deepEqual(logIn(t, shell, url), places);
    });
  });
}
