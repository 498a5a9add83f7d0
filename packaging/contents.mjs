/**
 * What is installed, for deb and rpm alike, in one list; and the tree that it makes:
 * `node packaging/contents.mjs node|standalone deb|rpm DIRECTORY`. Everything in it bears the time of the release.
 * `node packaging/contents.mjs version|time` prints what the packages are called by, and that time.
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import zlib from 'node:zlib';

const PACKAGING = path.dirname(fileURLToPath(import.meta.url));
const ROOT = path.resolve(PACKAGING, '..');

const UNITS = '/usr/lib/systemd/system';
const ETC = '/etc/mjf-agent';
/** Of both packages: units and manual pages name it. */
const DOC = '/usr/share/doc/mjf-agent';

/** Node's directory is named: what runs as root must not be searched in anybody's PATH. One option is all that Linux passes on. */
const SHEBANG = '#!/usr/bin/node --max-semi-space-size=1\n';

/** `from` is a file, or a directory with all that is in it, below the project; `to` ends in a slash where it is put into. */
const FILES = [
  { from: 'packaging/config.toml', to: `${ETC}/` },
  { from: 'packaging/hooks.d', to: `${ETC}/hooks.d/` },
  { from: 'packaging/profile.d', to: '/etc/profile.d/' },
  // Where Debian's csh and tcsh look: they never read profile.d.
  { from: 'packaging/profile.d/mjf.csh', to: '/etc/csh/login.d/', family: 'deb' },
  { from: 'packaging/systemd', only: /^[^/]+\.(service|socket)$/, to: `${UNITS}/` },
  // Drop-ins for units of systemd's own.
  { from: 'packaging/systemd', only: /^[^/]+\.(service|scope|slice)\.d\//, to: `${UNITS}/` },
  { from: 'packaging/systemd/logind.conf.d', to: '/usr/lib/systemd/logind.conf.d/' },
  { from: 'packaging/systemd/sysusers.d', to: '/usr/lib/sysusers.d/' },
  { from: 'packaging/systemd/tmpfiles.d', to: '/usr/lib/tmpfiles.d/' },
  { from: 'packaging/systemd/udev', to: '/usr/lib/udev/rules.d/' },
  { from: 'packaging/systemd/optional', to: `${DOC}/drop-ins/` },
  { from: 'packaging/systemd/firewall', to: `${DOC}/firewall/` },
  { from: 'packaging/man/mjf-agent.1', to: '/usr/share/man/man1/', compress: true },
  { from: 'packaging/man/mjf-agent.toml.5', to: '/usr/share/man/man5/', compress: true },
  { from: 'packaging/man/mjf-agent-hooks.7', to: '/usr/share/man/man7/', compress: true },
  { from: 'packaging/man/mjf-agent-sources.7', to: '/usr/share/man/man7/', compress: true },
  { from: 'packaging/man/mjf-agent-http.7', to: '/usr/share/man/man7/', compress: true },
  { from: 'packaging/completions/mjf-agent.bash', to: '/usr/share/bash-completion/completions/mjf-agent' },
  { from: 'packaging/completions/mjf-agent.fish', to: '/usr/share/fish/vendor_completions.d/' },
  { from: 'packaging/completions/_mjf-agent', to: '/usr/share/zsh/vendor-completions/', family: 'deb' },
  { from: 'packaging/completions/_mjf-agent', to: '/usr/share/zsh/site-functions/', family: 'rpm' },
  { from: 'packaging/presets', to: '/usr/lib/systemd/system-preset/', family: 'rpm' },
  { from: 'packaging/contextualization', to: `${DOC}/contextualization/` },
  { from: 'packaging/monitoring', to: `${DOC}/monitoring/` },
  { from: 'packaging/examples', to: `${DOC}/examples/` },
  { from: 'README.md', to: `${DOC}/` },
  { from: 'SECURITY.md', to: `${DOC}/` },
  { from: 'CHANGELOG.md', to: `${DOC}/`, family: 'rpm' },
  // Where Debian looks for it: each package below its own name.
  { from: 'CHANGELOG.md', to: '/usr/share/doc/mjf-agent/changelog', family: 'deb', kind: 'node', compress: true },
  {
    from: 'CHANGELOG.md',
    to: '/usr/share/doc/mjf-agent-standalone/changelog',
    family: 'deb',
    kind: 'standalone',
    compress: true,
  },
  { from: 'packaging/docs', to: `${DOC}/` },
  // Named after the package: by it the other one of the two knows that this one is installed.
  { from: 'LICENSE', to: '/usr/share/licenses/mjf-agent/', family: 'rpm', kind: 'node' },
  { from: 'LICENSE', to: '/usr/share/licenses/mjf-agent-standalone/', family: 'rpm', kind: 'standalone' },
  { from: 'dist/THIRD-PARTY-LICENSES.txt', to: `${DOC}/THIRD-PARTY-LICENSES.txt`, kind: 'node' },
  { from: 'dist/THIRD-PARTY-LICENSES.standalone.txt', to: `${DOC}/THIRD-PARTY-LICENSES.txt`, kind: 'standalone' },
];

/** Empty; an operator fills them. */
const DIRECTORIES = [
  `${ETC}/conf.d`,
  ...['notice', 'draining', 'stopping', 'stopped', 'cancelled', 'can_terminate', 'steps'].map(
    (event) => `${ETC}/hooks.d/${event}`,
  ),
];

/** What an operator may change, as the package managers are told. */
export const isConfiguration = (file) => file.startsWith('/etc/');

/** The version of the packages; `MJF_PACKAGE_VERSION` is for those who pack the same sources again. */
export function packageVersion() {
  const { version } = JSON.parse(fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8'));
  return process.env.MJF_PACKAGE_VERSION || version;
}

/** UNIX seconds: SOURCE_DATE_EPOCH, else the last commit's, so that the same sources give the same packages. */
export function releaseSecs() {
  const given = process.env.SOURCE_DATE_EPOCH;
  if (given) return Number(given);
  try {
    return Number(
      execFileSync('git', ['log', '-1', '--format=%ct'], { cwd: ROOT, stdio: ['ignore', 'pipe', 'ignore'] }),
    );
  } catch {
    // Not from a clone: the day on which the changes were written down.
    return Math.floor(fs.statSync(path.join(ROOT, 'CHANGELOG.md')).mtimeMs / 1000);
  }
}

/** Lays it out below `directory`; gives the installed paths of all files. */
export function layOut({ kind, family, directory }) {
  const program = kind === 'standalone' ? standaloneProgram() : bundledProgram();
  const files = ['/usr/bin/mjf-agent'];
  put(directory, '/usr/bin/mjf-agent', program, 0o755);
  const rows = FILES.filter((row) => (row.family ?? family) === family && (row.kind ?? kind) === kind);
  const places = new Map(rows.flatMap((row) => sourcesOf(row).map(([from, name]) => [from, placeOf(row, name)])));
  for (const row of rows) {
    for (const [from, name] of sourcesOf(row)) {
      const text = from.endsWith('.md') ? relinked(from, places) : fs.readFileSync(from);
      const file = placeOf(row, name);
      put(directory, file, row.compress ? packed(text) : text, 0o644);
      files.push(file);
    }
  }
  for (const dir of DIRECTORIES) fs.mkdirSync(path.join(directory, dir), { recursive: true, mode: 0o755 });
  return files.sort();
}

const placeOf = ({ to, compress }, name) => `${to.endsWith('/') ? `${to}${name}` : to}${compress ? '.gz' : ''}`;

/** A document whose links lead to where things are once they are installed; what is not installed keeps its name in the project. */
function relinked(from, places) {
  const own = places.get(from);
  return fs.readFileSync(from, 'utf8').replace(/\]\(([^)#:\s]+)(?=[)#])/g, (link, target) => {
    const place = places.get(path.resolve(path.dirname(from), target));
    return place === undefined ? link : `](${path.relative(path.dirname(own), place)}`;
  });
}

/** As `gzip -9n`: neither name nor time in it. */
export const packed = (text) => zlib.gzipSync(text, { level: 9 });

/** All modes and times below `directory`, whatever the umask and the clock are. */
export function settle(directory, secs) {
  for (const entry of fs.readdirSync(directory, { withFileTypes: true })) {
    const file = path.join(directory, entry.name);
    if (entry.isDirectory()) settle(file, secs);
    else fs.utimesSync(file, secs, secs);
  }
  fs.chmodSync(directory, 0o755);
  fs.utimesSync(directory, secs, secs);
}

export function put(directory, file, contents, mode) {
  const target = path.join(directory, file);
  fs.mkdirSync(path.dirname(target), { recursive: true, mode: 0o755 });
  fs.writeFileSync(target, contents);
  fs.chmodSync(target, mode);
}

function sourcesOf({ from, only }) {
  const source = path.join(ROOT, from);
  if (!fs.statSync(source).isDirectory()) return [[source, path.basename(source)]];
  const names = fs
    .readdirSync(source, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(source, path.join(entry.parentPath ?? entry.path, entry.name)))
    .filter((name) => only === undefined || only.test(name));
  if (names.length === 0) throw new Error(`nothing to install in ${from}`);
  return names.sort().map((name) => [path.join(source, name), name]);
}

function bundledProgram() {
  const text = fs.readFileSync(path.join(ROOT, 'dist/mjf-agent.cjs'), 'utf8');
  return SHEBANG + text.slice(text.indexOf('\n') + 1);
}

const standaloneProgram = () => fs.readFileSync(path.join(ROOT, 'dist/mjf-agent'));

if (process.argv[1] && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const [kind, family, directory] = process.argv.slice(2);
  if (kind === 'version') console.log(packageVersion());
  else if (kind === 'time') console.log(releaseSecs());
  else if (['node', 'standalone'].includes(kind) && ['deb', 'rpm'].includes(family) && directory !== undefined) {
    layOut({ kind, family, directory });
    settle(directory, releaseSecs());
  } else {
    console.error('usage: node packaging/contents.mjs node|standalone deb|rpm DIRECTORY, or version, or time');
    process.exit(64);
  }
}
