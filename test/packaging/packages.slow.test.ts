/** The packages themselves: the same bytes each time, and nothing that their linters find fault with. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';

const ROOT = path.resolve(import.meta.dirname ?? __dirname, '../..');
const lacks = (...tools: readonly string[]): string | false => {
  const missing = tools.find((tool) => spawnSync(tool, ['--version']).error);
  return missing === undefined ? false : `needs ${missing}`;
};
/** The largest of them holds Node. */
const KINDS = fs.existsSync(path.join(ROOT, 'dist/mjf-agent')) ? ['node', 'standalone'] : ['node'];
const env = { ...process.env, MJF_PACKAGE_SOON: '1', SOURCE_DATE_EPOCH: '1766440000' };

const BUILDS = {
  deb: [process.execPath, path.join(ROOT, 'packaging/deb/build.mjs')],
  rpm: [path.join(ROOT, 'rpm/build.sh')],
} as const;

function build(family: keyof typeof BUILDS, directory: string): readonly string[] {
  const [command, ...args] = BUILDS[family];
  for (const kind of KINDS) execFileSync(command, [...args, directory, kind], { env, cwd: directory, stdio: 'ignore' });
  return fs.readdirSync(directory).sort();
}

for (const [family, tool, lint] of [
  ['deb', 'dpkg-deb', ['lintian', '--fail-on', 'warning', '--allow-root']],
  [
    'rpm',
    'rpmbuild',
    ['rpmlint', '--strict', '-c', path.join(ROOT, 'rpm/rpmlint.toml'), path.join(ROOT, 'rpm/mjf-agent.spec')],
  ],
] as const) {
  describe(`${family} packages`, { skip: lacks(tool) }, () => {
    it('are the same bytes each time', (t) => {
      const [one, two] = [temporary(t), temporary(t)];
      const names = build(family, one);
      assert.equal(names.length, KINDS.length);
      assert.deepEqual(build(family, two), names);
      for (const name of names)
        assert.ok(fs.readFileSync(path.join(one, name)).equals(fs.readFileSync(path.join(two, name))), name);
    });

    it(`have nothing that ${lint[0]} finds fault with`, { skip: lacks(lint[0]) }, (t) => {
      const directory = temporary(t);
      const files = build(family, directory).map((name) => path.join(directory, name));
      const { status, stdout } = spawnSync(lint[0], [...lint.slice(1), ...files], { encoding: 'utf8' });
      assert.equal(status, 0, stdout);
    });
  });
}

function temporary(t: { after(done: () => void): void }): string {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-packing-'));
  t.after(() => fs.rmSync(directory, { recursive: true }));
  return directory;
}
