/**
 * Makes dist/mjf-agent_VERSION-1_all.deb and dist/mjf-agent-standalone_VERSION-1_amd64.deb of what is built in dist/; the same
 * bytes each time (SOURCE_DATE_EPOCH). `node packaging/deb/build.mjs [OUTPUT_DIRECTORY] [node|standalone]`.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { isConfiguration, layOut, packageVersion, packed, put, releaseSecs, settle } from '../contents.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const ROOT = path.resolve(HERE, '../..');
const REVISION = '1';

const PACKAGES = {
  node: {
    name: 'mjf-agent',
    architecture: 'all',
    depends: 'nodejs (>= 20~), passwd, systemd',
    provides: '',
    variant: 'This package runs on the Node.js of the system.',
  },
  standalone: {
    name: 'mjf-agent-standalone',
    architecture: 'amd64',
    // What Node's own binaries are linked with.
    depends: 'libc6 (>= 2.28), libgcc-s1 | libgcc1, libstdc++6 (>= 5.2), passwd, systemd',
    provides: 'mjf-agent',
    variant: 'This package brings its own Node.js along.',
  },
};

export function buildDeb(kind, outputDirectory) {
  const { name, architecture, depends, provides, variant } = PACKAGES[kind];
  const other = Object.values(PACKAGES).find((each) => each.name !== name).name;
  const version = `${packageVersion()}-${REVISION}`;
  const secs = releaseSecs();
  const work = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-deb-'));
  try {
    const tree = path.join(work, 'tree');
    const files = layOut({ kind, family: 'deb', directory: tree });
    const add = (file, contents) => {
      put(tree, file, contents, 0o644);
      files.push(file);
    };
    const fill = (text, more = {}) =>
      Object.entries({ PACKAGE: name, VERSION: version, OTHER: other, ...more }).reduce(
        (filled, [word, value]) => filled.replaceAll(`@${word}@`, value),
        text,
      );
    const template = (file, more) => fill(fs.readFileSync(path.join(HERE, file), 'utf8'), more);
    const doc = `/usr/share/doc/${name}`;
    add(`${doc}/copyright`, template('copyright'));
    const date = new Date(secs * 1000).toUTCString().replace('GMT', '+0000');
    add(`${doc}/changelog.Debian.gz`, packed(template('changelog', { DATE: date })));
    add(`/usr/share/lintian/overrides/${name}`, template(`lintian-overrides.${kind}`));

    const sizes = files.map((file) => Math.ceil(fs.statSync(path.join(tree, file)).size / 1024));
    const control = template('control', {
      ARCHITECTURE: architecture,
      DEPENDS: depends,
      PROVIDES: provides === '' ? '' : `Provides: ${provides}\n`,
      SIZE: String(sizes.reduce((sum, size) => sum + size, 0)),
      VARIANT: variant,
    });
    put(tree, 'DEBIAN/control', control, 0o644);
    put(tree, 'DEBIAN/conffiles', `${files.filter(isConfiguration).join('\n')}\n`, 0o644);
    const sums = files
      .filter((file) => !isConfiguration(file))
      .sort()
      .map((file) => {
        const md5 = createHash('md5').update(fs.readFileSync(path.join(tree, file)));
        return `${md5.digest('hex')}  ${file.slice(1)}\n`;
      });
    put(tree, 'DEBIAN/md5sums', sums.join(''), 0o644);
    for (const script of ['preinst', 'postinst', 'prerm', 'postrm'])
      put(tree, `DEBIAN/${script}`, template(script), 0o755);
    settle(tree, secs);

    fs.mkdirSync(outputDirectory, { recursive: true });
    const file = path.join(outputDirectory, `${name}_${version}_${architecture}.deb`);
    // For tests, whose packages nobody keeps: not small, but soon.
    const compression = process.env.MJF_PACKAGE_SOON ? ['-Zgzip', '-z1'] : ['-Zxz'];
    execFileSync('dpkg-deb', ['--root-owner-group', ...compression, '--build', tree, path.join(work, 'package.deb')], {
      env: { ...process.env, SOURCE_DATE_EPOCH: String(secs) },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    fs.copyFileSync(path.join(work, 'package.deb'), file);
    return file;
  } finally {
    fs.rmSync(work, { recursive: true, force: true });
  }
}

if (process.argv[1] && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const [output = path.join(ROOT, 'dist'), only] = process.argv.slice(2);
  for (const kind of Object.keys(PACKAGES))
    if (only === undefined || only === kind) console.log(buildDeb(kind, output));
}
