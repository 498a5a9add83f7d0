/**
 * A container with real systemd as its pid 1, booted from the cached root in less than a second. All of it lives in one
 * control group and in private mounts: whoever is left when the tests end, or are killed, is removed by a janitor that
 * waits for the end of our pipe.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Ending } from '../support/processes.ts';
import { PROGRAM, type Ran, WAIT_MS } from '../support/program.ts';
import { type TestRoot, testRoot } from './root.ts';

/** Where node and the program stand inside. */
export const NODE = '/opt/mjf/node';
export const AGENT = '/opt/mjf/mjf-agent.cjs';

export interface Bed {
  /** systemd itself, as seen from here. */
  readonly leader: number;
  /** In front of a command: runs it inside. */
  readonly within: readonly string[];
  /** A file of the container, as seen from here. */
  path(file: string): string;
  write(file: string, text: string): void;
  /** Its text; empty where it is not there. */
  read(file: string): string;
  /** A command inside, to its end. */
  exec(command: readonly string[], options?: { readonly uid?: number }): Promise<Ran>;
  /** Its standard output; throws where it fails. */
  systemctl(...args: readonly string[]): Promise<string>;
  /** Writes unit files and has systemd read them. */
  units(files: Readonly<Record<string, string>>): Promise<void>;
  property(unit: string, name: string): Promise<string>;
  /** The container's own end (power off); true when it came within the time. */
  hasEnded(withinMs: number): Promise<boolean>;
}

/**
 * Private mounts: an overlay that keeps the cached root as it is, and a /run of its own, since nspawn leaves things there.
 * The control groups as a pure v2 tree, whatever the machine itself has; no name space of them here: nspawn makes its own.
 * `$1` root, `$2` nspawn, the rest its options.
 */
const BOOT = `set -e
root=$1 nspawn=$2; shift 2
mount -t tmpfs none /run
mkdir /run/up /run/work /run/root
mount -t overlay overlay -o "lowerdir=$root,upperdir=/run/up,workdir=/run/work" /run/root
umount -R /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
exec "$nspawn" -q -D /run/root --boot --register=no --keep-unit --private-network --console=pipe \\
  --kill-signal=SIGRTMIN+3 --machine=bed "$@"`;

/** `$1` the control group. Waits for the end of its input, whatever ends it; then nothing is left. */
const JANITOR = `cat > /dev/null
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  echo 1 > "$1/cgroup.kill"
  find "$1" -depth -type d -exec rmdir {} + 2> /dev/null
  [ -d "$1" ] || exit 0
  sleep 0.2
done
echo "left behind: $1" >&2
exit 1`;

/** The root to boot, or why there can be no container here. */
export function prepareBed(): TestRoot | { readonly reason: string } {
  if (!fs.existsSync(PROGRAM)) return { reason: `${PROGRAM} is not there: run "npm run build" first` };
  const mount = cgroupMount();
  if (mount === null) return { reason: 'needs a mount of cgroup v2' };
  try {
    const probe = path.join(mount, groupName());
    fs.mkdirSync(probe);
    const canKill = fs.existsSync(path.join(probe, 'cgroup.kill'));
    fs.rmdirSync(probe);
    if (!canKill) return { reason: 'needs cgroup.kill (Linux 5.14)' };
  } catch (error) {
    return { reason: `no control group can be made in ${mount}: ${(error as Error).message}` };
  }
  const root = testRoot();
  if ('reason' in root) return root;
  const tried = spawnSync(
    'unshare',
    ['--mount', '--propagation', 'private', 'sh', '-c', OVERLAY_TRIAL, 'sh', root.dir],
    {
      encoding: 'utf8',
    },
  );
  return tried.status === 0
    ? root
    : { reason: `no overlay can be mounted, or no node run in it: ${tried.stderr.trim()}` };
}

const OVERLAY_TRIAL = `set -e
mount -t tmpfs none /run; mkdir /run/up /run/work /run/root
mount -t overlay overlay -o "lowerdir=$1,upperdir=/run/up,workdir=/run/work" /run/root`;

/** Boots it; resolves when systemd has settled. */
export async function startBed(t: Ending, root: TestRoot): Promise<Bed> {
  const group = path.join(cgroupMount() ?? '', groupName());
  fs.mkdirSync(group);
  const janitor = spawn('sh', ['-c', JANITOR, 'sh', group], { stdio: ['pipe', 'ignore', 'inherit'], detached: true });
  const janitorEnded = once(janitor, 'exit');
  t.after(async () => {
    janitor.stdin.end();
    const [code] = await janitorEnded;
    if (code !== 0) throw new Error('the container could not be removed');
  });
  const { child, said } = boot(root, group);
  const ended = once(child, 'exit');
  const leader = await leaderOf(group, child, said);
  const within = ['nsenter', '-t', String(leader), '-m', '-u', '-i', '-n', '-p', '-C', '-r', '--wdns=/'];

  const bed: Bed = {
    leader,
    within,
    path: (file) => path.join(`/proc/${leader}/root`, file),
    write: (file, text) => fs.writeFileSync(bed.path(file), text),
    read: (file) => (fs.existsSync(bed.path(file)) ? fs.readFileSync(bed.path(file), 'utf8') : ''),
    exec: (command, { uid } = {}) =>
      run([
        ...within,
        ...(uid === undefined ? [] : ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups']),
        ...command,
      ]),
    async systemctl(...args) {
      const { code, out, err } = await run([...within, 'systemctl', '--no-pager', ...args]);
      if (code !== 0) throw new Error(`systemctl ${args.join(' ')}: ${code} ${err}${out}`);
      return out;
    },
    async units(files) {
      for (const [name, text] of Object.entries(files)) bed.write(`/etc/systemd/system/${name}`, text);
      await bed.systemctl('daemon-reload');
    },
    property: async (unit, name) => (await bed.systemctl('show', '-p', name, '--value', '--', unit)).trim(),
    hasEnded: (withinMs) => Promise.race([ended.then(() => true), sleep(withinMs, false, { ref: false })]),
  };
  await until(
    'systemd has settled',
    async () => {
      const { out } = await run([...within, 'systemctl', 'is-system-running']);
      return /^(running|degraded)/.test(out);
    },
    () => said.text,
  );
  return bed;
}

function boot(root: TestRoot, group: string): { readonly child: ChildProcess; readonly said: { text: string } } {
  const binds = [
    `--bind-ro=${process.execPath}:${NODE}`,
    `--bind-ro=${PROGRAM}:${AGENT}`,
    ...librariesMissingIn(root.dir),
  ];
  const enter = 'echo $$ > "$0/cgroup.procs"; exec unshare --mount --propagation private sh -c "$@"';
  const child = spawn('sh', ['-c', enter, group, BOOT, 'sh', root.dir, root.nspawn, ...binds], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env['PATH'],
      SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: '1',
      ...(root.libraries === '' ? {} : { LD_LIBRARY_PATH: root.libraries }),
    },
  });
  const said = { text: '' };
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      said.text = (said.text + text).slice(-4096);
    });
  return { child, said };
}

/** What node is linked with and the root lacks, at the same place. */
function librariesMissingIn(root: string): readonly string[] {
  const { stdout } = spawnSync('ldd', [process.execPath], { encoding: 'utf8' });
  const files = [...(stdout ?? '').matchAll(/=> (\/\S+)/g)].map(([, file]) => file ?? '');
  return files.filter((file) => !fs.existsSync(path.join(root, file))).map((file) => `--bind-ro=${file}`);
}

/** nspawn puts pid 1 of the container into `payload/init.scope`, once systemd has made that. */
async function leaderOf(group: string, child: ChildProcess, said: { readonly text: string }): Promise<number> {
  let leader = 0;
  await until(
    'pid 1 of the container',
    () => {
      if (child.exitCode !== null) throw new Error(`the container did not boot: ${said.text}`);
      const procs = path.join(group, 'payload/init.scope/cgroup.procs');
      leader = fs.existsSync(procs) ? Number(fs.readFileSync(procs, 'utf8').split('\n')[0]) : 0;
      return leader > 0;
    },
    () => said.text,
  );
  return leader;
}

/** Looks again and again: nothing outside of the container tells us. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  detail: () => string | Promise<string> = () => '',
): Promise<void> {
  const giveUpAt = Date.now() + WAIT_MS;
  while (!(await holds())) {
    if (Date.now() > giveUpAt) throw new Error(`never: ${what}\n${await detail()}`);
    await sleep(50);
  }
}

function run([command = '', ...args]: readonly string[]): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(command, args, { timeout: WAIT_MS, killSignal: 'SIGKILL' }, (error, out, err) => {
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : null, out, err });
    });
  });
}

const groupName = (): string => `mjf-test-${randomBytes(6).toString('hex')}`;

/** Where v2 is mounted here, alone or beside v1. */
function cgroupMount(): string | null {
  const mounts = fs.readFileSync('/proc/self/mountinfo', 'utf8');
  return /^\S+ \S+ \S+ \/ (\S+) .* - cgroup2 /m.exec(mounts)?.[1] ?? null;
}
