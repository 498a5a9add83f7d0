/**
 * Runs the tests: `node test/run.mjs fast|slow|faults|systemd|guest`. `fast` needs nothing but Node; `slow` (`*.slow.test.ts`)
 * has real namespaces, a real bus, real processes by the dozen and platforms that keep one waiting; `faults` walks through
 * crashes and takes minutes; `systemd` boots containers, `guest` virtual machines. Works on Node 20, 22 and 24, whose own globs
 * and defaults differ.
 */
import { spawn } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const TEST = path.dirname(fileURLToPath(import.meta.url));
const ROOT = path.resolve(TEST, '..');

/** What is not fast, by directory below test/, and how it is run instead. */
const SLOW = {
  slow: 'npm run test:slow',
  faults: 'node test/run.mjs faults',
  systemd: 'node test/run.mjs systemd',
  guest: 'npm run test:guest',
  bench: 'npm run bench:latency',
};
/**
 * The tests start processes of their own; more files at once only make each other late. The slow ones wait for real instants
 * with dozens of processes, and those named `*.alone.slow.test.ts` with hundreds: these come last, one by one. An emulated
 * machine keeps two processors busy while it boots, and takes a gigabyte.
 */
const GUEST_PROCESSORS = 2;
const GUEST_BYTES = 1.25 * 1024 ** 3;
const guestsAtOnce = () =>
  Math.max(1, Math.floor(Math.min(os.availableParallelism() / GUEST_PROCESSORS, os.freemem() / GUEST_BYTES)));
const FILES_AT_ONCE = { fast: 4, slow: 2, faults: 4, systemd: 4, guest: guestsAtOnce() };
/** A file that takes longer has a test that never ends: it fails instead of holding up all others for ever. */
const MOST_SECS = { fast: 120, slow: 300, faults: 1_200, systemd: 600, guest: 900 };

/**
 * Virtual machines take minutes where they are emulated (so many seconds with two processors): those that tell the most come
 * first, for who has little time.
 */
const GUEST_SECS = {
  share: 60,
  metadata: 210,
  power: 60,
  drive: 90,
  crash: 60,
  'hung-share': 160,
  reboot: 130,
  firewall: 130,
};
/** Of a new one. */
const UNKNOWN_SECS = 120;
/**
 * `MJF_TEST_SECS` (.ci/run): as many seconds there are for the virtual machines. A round of them is begun only where it is likely to
 * fit, and what is left out is told.
 */
const SECS = Number(process.env.MJF_TEST_SECS ?? Number.POSITIVE_INFINITY);

const [suite = 'fast', ...patterns] = process.argv.slice(2);
if (!['fast', 'slow', 'faults', 'systemd', 'guest'].includes(suite)) {
  console.error(`usage: node test/run.mjs fast|slow|faults|systemd|guest [PART-OF-A-FILE-NAME…] (got "${suite}")`);
  process.exit(64);
}

const entries = await readdir(TEST, { recursive: true, withFileTypes: true });
const files = entries
  .filter((entry) => entry.isFile() && entry.name.endsWith('.test.ts'))
  // parentPath came with Node 20.12; before, and only before, `path` says the same.
  .map((entry) => path.relative(TEST, path.join(entry.parentPath ?? entry.path, entry.name)))
  .sort();
const suiteOf = (file) => {
  const [directory] = file.split(path.sep);
  if (Object.hasOwn(SLOW, directory)) return directory;
  return file.endsWith('.slow.test.ts') ? 'slow' : 'fast';
};
const chosen = files.filter(
  (file) => suiteOf(file) === suite && (patterns.length === 0 || patterns.some((pattern) => file.includes(pattern))),
);

for (const [name, how] of Object.entries(SLOW)) {
  const count = files.filter((file) => suiteOf(file) === name).length;
  if (name !== suite && count > 0)
    console.log(
      `not run: ${name === 'slow' ? '*.slow.test.ts' : `test/${name}`} (${count} file${count === 1 ? '' : 's'}; ${how})`,
    );
}
if (suite !== 'fast') console.log('not run: the fast tests (node test/run.mjs fast)');
if (chosen.length === 0) {
  console.error(`no test file of suite ${suite}${patterns.length > 0 ? ` matches ${patterns.join(', ')}` : ''}`);
  process.exit(1);
}

const isAlone = (file) => file.endsWith('.alone.slow.test.ts');
const rounds = (
  suite === 'guest'
    ? guestRounds()
    : [
        { files: chosen.filter((file) => !isAlone(file)), atOnce: FILES_AT_ONCE[suite] },
        { files: chosen.filter(isAlone), atOnce: 1 },
      ]
).filter(({ files }) => files.length > 0);

function guestOf(file) {
  return path.basename(file, '.test.ts');
}

function guestRounds() {
  const names = Object.keys(GUEST_SECS);
  const rank = (file) => (names.indexOf(guestOf(file)) + names.length + 1) % (names.length + 1);
  const ordered = [...chosen].sort((one, other) => rank(one) - rank(other));
  const atOnce = FILES_AT_ONCE.guest;
  return Array.from({ length: Math.ceil(ordered.length / atOnce) }, (_, round) => ({
    files: ordered.slice(round * atOnce, (round + 1) * atOnce),
    atOnce,
  }));
}

/** @returns the exit code of one round */
function run({ files, atOnce }, number) {
  // .ci/run names a file, to show it once more at its very end.
  const failures = process.env.MJF_TEST_FAILURES;
  const child = spawn(
    process.execPath,
    [
      '--import',
      'tsx',
      '--test',
      `--test-concurrency=${atOnce}`,
      `--test-timeout=${MOST_SECS[suite] * 1_000}`,
      `--test-reporter=${process.stdout.isTTY ? 'spec' : 'tap'}`,
      '--test-reporter-destination=stdout',
      `--test-reporter=${path.join(TEST, 'support/failures.mjs')}`,
      `--test-reporter-destination=${failures === undefined ? 'stderr' : `${failures}.${number}`}`,
      ...files.map((file) => path.join('test', file)),
    ],
    { cwd: ROOT, stdio: 'inherit' },
  );
  const pass = (signal) => child.kill(signal);
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, pass);
  return new Promise((resolve) => {
    child.on('error', (error) => {
      console.error(`cannot start the tests: ${error.message}`);
      resolve(1);
    });
    child.on('exit', (code, signal) => {
      for (const each of ['SIGINT', 'SIGTERM']) process.off(each, pass);
      if (signal === 'SIGINT') process.exit(130);
      resolve(code ?? 1);
    });
  });
}

let worst = 0;
/** How much slower this machine is. */
let slowness = 1;
for (const [number, round] of rounds.entries()) {
  const begunSecs = process.uptime();
  const usualSecs = Math.max(...round.files.map((file) => GUEST_SECS[guestOf(file)] ?? UNKNOWN_SECS));
  if (begunSecs + usualSecs * slowness > SECS) {
    const left = rounds.slice(number).flatMap(({ files }) => files);
    console.log(`== left out (no time: ${Math.round(begunSecs)} s of ${SECS} s are gone): ${left.join(', ')}`);
    break;
  }
  worst = Math.max(worst, await run(round, number));
  slowness = Math.max(slowness, (process.uptime() - begunSecs) / usualSecs);
}
process.exit(worst);
