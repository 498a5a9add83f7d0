/** What the packages hold, by packaging/contents.mjs: nothing is forgotten, and their scripts know every unit. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import { HOOK_EVENTS } from '../../agent/lifetime/types.ts';
import { PROGRAM } from '../support/program.ts';

const ROOT = path.resolve(import.meta.dirname ?? __dirname, '../..');
const SCRIPT = path.join(ROOT, 'packaging/contents.mjs');
const RELEASED_SECS = 1_766_440_000;
const env = { ...process.env, SOURCE_DATE_EPOCH: String(RELEASED_SECS) };

/** Files, and directories with a slash, as installed. */
function laidOut(t: { after(done: () => void): void }, family: 'deb' | 'rpm') {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-contents-'));
  t.after(() => fs.rmSync(directory, { recursive: true }));
  execFileSync(process.execPath, [SCRIPT, 'node', family, directory], { env });
  const entries = fs.readdirSync(directory, { recursive: true, withFileTypes: true }).map((entry) => {
    const name = `/${path.relative(directory, path.join(entry.parentPath ?? entry.path, entry.name))}`;
    return entry.isDirectory() ? `${name}/` : name;
  });
  return { entries, at: (name: string): string => path.join(directory, name) };
}

describe('contents of the packages', { skip: fs.existsSync(PROGRAM) ? false : 'needs "npm run build"' }, () => {
  for (const family of ['deb', 'rpm'] as const) {
    it(`${family}: every file of the units, and a place for every hook`, (t) => {
      const { entries } = laidOut(t, family);
      const sources = fs
        .readdirSync(path.join(ROOT, 'packaging/systemd'), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile());
      assert.ok(sources.length > 10);
      for (const { name, parentPath, path: before } of sources) {
        // A drop-in counts by its directory.
        const directory = path.basename(parentPath ?? before);
        const end = directory.endsWith('.d') ? `/${directory}/${name}` : `/${name}`;
        assert.ok(
          entries.some((entry) => entry.endsWith(end)),
          end,
        );
      }
      for (const event of [...HOOK_EVENTS, 'steps'])
        assert.ok(entries.includes(`/etc/mjf-agent/hooks.d/${event}/`), event);
    });

    it(`${family}: the links of the documents lead somewhere once they are installed`, (t) => {
      const { entries, at } = laidOut(t, family);
      const readme = fs.readFileSync(at('/usr/share/doc/mjf-agent/README.md'), 'utf8');
      const targets = [...readme.matchAll(/\]\(([^)#:\s]+)[)#]/g)].map(([, target = '']) => target);
      assert.ok(targets.includes('examples/README.md') && targets.includes('demo.svg'), targets.join(' '));
      const missing = targets.filter((target) => !entries.includes(path.join('/usr/share/doc/mjf-agent', target)));
      assert.deepEqual(missing, []);
      assert.ok(targets.includes(family === 'deb' ? 'changelog.gz' : 'CHANGELOG.md'), targets.join(' '));
    });

    it(`${family}: modes and times are the same wherever it is made, and nobody's PATH finds its Node`, (t) => {
      const { entries, at } = laidOut(t, family);
      for (const entry of entries) {
        const { mode, mtimeMs } = fs.statSync(at(entry));
        const executable = entry.endsWith('/') || entry === '/usr/bin/mjf-agent';
        assert.equal((mode & 0o7777).toString(8), executable ? '755' : '644', entry);
        assert.equal(mtimeMs, RELEASED_SECS * 1000, entry);
      }
      const [first = '', second = ''] = fs.readFileSync(at('/usr/bin/mjf-agent'), 'utf8').split('\n');
      assert.match(first, /^#!\/usr\/bin\/node --/);
      assert.match(second, /SIGUSR1/, 'one such line, not two');
    });
  }

  it('rpm: the list of files has every document and manual page: what is not in it ends the build', (t) => {
    const list = fs.readFileSync(path.join(ROOT, 'rpm/mjf-agent.spec'), 'utf8').split('%files\n')[1] ?? '';
    const listed = [...list.matchAll(/%\{_(docdir|mandir)\}(\/\S+)/g)].map(([, macro, rest]) =>
      path.join(macro === 'docdir' ? '/usr/share/doc' : '/usr/share/man', rest ?? ''),
    );
    const dirs = new Set(['/usr/share/doc/mjf-agent']);
    const { entries } = laidOut(t, 'rpm');
    const unlisted = entries.filter(
      (entry) =>
        /^\/usr\/share\/(doc|man)\/.*[^/]$/.test(entry) &&
        !listed.some((pattern) => {
          const [before = '', after] = pattern.split('*');
          // A directory of the list stands for all that is in it, and `%dir` for itself alone.
          if (after === undefined) return entry === pattern || (entry.startsWith(`${pattern}/`) && !dirs.has(pattern));
          const rest = entry.slice(before.length);
          return entry.startsWith(before) && rest.endsWith(after) && !rest.includes('/');
        }),
    );
    assert.deepEqual(unlisted, []);
  });

  it('what is made for another version is called so', () => {
    const given = { ...env, MJF_PACKAGE_VERSION: '7.8.9' };
    assert.equal(execFileSync(process.execPath, [SCRIPT, 'version'], { env: given, encoding: 'utf8' }), '7.8.9\n');
    assert.equal(execFileSync(process.execPath, [SCRIPT, 'time'], { env, encoding: 'utf8' }), `${RELEASED_SECS}\n`);
  });
});

describe('scripts of the packages', () => {
  const text = (name: string): string => fs.readFileSync(path.join(ROOT, name), 'utf8');
  const units = fs
    .readdirSync(path.join(ROOT, 'packaging/systemd'))
    .filter((name) => /\.(service|socket)$/.test(name) && /^\[Install\]$/m.test(text(`packaging/systemd/${name}`)));
  const named = (script: string): readonly string[] =>
    [...new Set(script.match(/\bmjf-agent[a-z0-9-]*\.(?:service|socket)\b/g) ?? [])].sort();

  for (const script of ['postinst', 'postrm', 'prerm'])
    it(`deb: ${script} knows every unit that is enabled`, () => {
      assert.deepEqual(named(text(`packaging/deb/${script}`)), units.sort());
    });

  for (const section of ['post', 'preun', 'posttrans'])
    it(`rpm: %${section} knows every unit that is enabled`, () => {
      const [, body = ''] = new RegExp(`^%${section}\\n([^]*?)^%[a-z]`, 'm').exec(text('rpm/mjf-agent.spec')) ?? [];
      assert.deepEqual(named(body), units.sort());
    });
});
