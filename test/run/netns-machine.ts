/**
 * A machine of its own for the agent, without a virtual one: a network namespace whose only neighbour is another namespace
 * that owns 169.254.169.254, and a mount namespace in which the firmware says what a test wants. The namespaces have no
 * names: each lives as long as its process, which lives as long as we hold its standard input. Nothing can be left behind.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { on, once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Ending } from '../support/processes.ts';
import { killAtExit, type Ran, WAIT_MS } from '../support/program.ts';

export const METADATA_ADDRESS = '169.254.169.254';
const GUEST_ADDRESS = '169.254.0.2';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
/** What may tell that this machine is some cloud's: covered, where it exists. /sys/class exists everywhere. */
const TELLTALES = ['/sys/class', '/sys/hypervisor', '/sys/firmware', '/dev/disk', '/run/cloud-init'];
const GUEST = `set -e
for place in ${TELLTALES.join(' ')}; do if [ -d $place ]; then mount -t tmpfs none $place; fi; done
while [ $# -gt 0 ]; do mkdir -p /sys/class/dmi/id; printf '%s\\n' "$2" > "/sys/class/dmi/id/$1"; shift 2; done
ip link set lo up
echo ready
exec cat`;
const PEER = `set -e
ip link set lo up
echo ready
exec cat`;
const TRIAL = 'mount -t tmpfs none /sys/class && ip link add eth0 type veth peer name eth1 && nsenter --version';

const run = promisify(execFile);

/** Why there can be no such machine here; undefined where there can. */
export function whyNoMachine(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root, for network and mount namespaces';
  const tried = spawnSync('unshare', ['--net', '--mount', 'sh', '-c', TRIAL]);
  if (tried.error !== undefined) return 'needs unshare (util-linux)';
  return tried.status === 0 ? undefined : `needs ip, nsenter and namespaces: ${String(tried.stderr).trim()}`;
}

export interface TestMachine {
  /** In front of a command: runs it in this machine. */
  readonly within: readonly string[];
  /** A command in this machine, to its end. */
  exec(command: readonly string[]): Promise<Ran>;
  /** A stand-in (`npm run host -- …`) at 169.254.169.254. Resolves when it listens. */
  startHost(name: string, args?: readonly string[], port?: number): Promise<StandInProcess>;
  /** Everything to 169.254.169.254 vanishes without an answer, until turned off. */
  swallow(on: boolean): Promise<void>;
  /** TCP segments that have reached the neighbour: whether anybody has asked anything. */
  segmentsSeen(): Promise<number>;
  /** What identifies its namespaces in /proc. */
  readonly namespaces: readonly string[];
}

export interface StandInProcess {
  /** A line on its standard input; resolves when it was obeyed. */
  say(line: string): Promise<void>;
}

/** `dmi`: files of /sys/class/dmi/id; none at all where empty. */
export async function startMachine(t: Ending, dmi: Readonly<Record<string, string>>): Promise<TestMachine> {
  const [guest, peer] = await Promise.all([
    hold(t, ['--net', '--mount'], GUEST, Object.entries(dmi).flat()),
    hold(t, ['--net'], PEER, []),
  ]);
  const within = ['nsenter', `--target=${guest}`, '--net', '--mount', '--wdns=/'];
  const beside = ['nsenter', `--target=${peer}`, '--net'];
  const ip = (where: readonly string[], line: string) => invoke([...where, 'ip', ...line.split(' ')]);
  await ip(within, `link add eth0 type veth peer name eth0 netns ${peer}`);
  await ip(within, `addr add ${GUEST_ADDRESS}/16 dev eth0`);
  await ip(within, 'link set eth0 up');
  await ip(beside, `addr add ${METADATA_ADDRESS}/32 dev eth0`);
  await ip(beside, 'link set eth0 up');
  await ip(beside, `route add ${GUEST_ADDRESS}/32 dev eth0`);

  return {
    within,
    exec: (command) => execute([...within, ...command]),
    startHost: (name, args = [], port = 80) => startHost(t, beside, [name, '--port', String(port), ...args]),
    swallow: (on) => ip(beside, `route replace ${on ? 'blackhole ' : ''}${GUEST_ADDRESS}/32${on ? '' : ' dev eth0'}`),
    async segmentsSeen() {
      const { stdout } = await run('nsenter', [...beside.slice(1), 'cat', '/proc/net/snmp']);
      const [names = [], values = []] = stdout
        .split('\n')
        .filter((line) => line.startsWith('Tcp:'))
        .map((line) => line.split(' '));
      return Number(values[names.indexOf('InSegs')]);
    },
    namespaces: [
      fs.readlinkSync(`/proc/${guest}/ns/net`),
      fs.readlinkSync(`/proc/${guest}/ns/mnt`),
      fs.readlinkSync(`/proc/${peer}/ns/net`),
    ],
  };
}

/** A process that holds new namespaces; its pid. */
async function hold(
  t: Ending,
  namespaces: readonly string[],
  script: string,
  args: readonly string[],
): Promise<number> {
  const child = spawn('unshare', [...namespaces, 'sh', '-c', script, 'sh', ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  endAfter(t, child);
  await linesOf(child)(/^ready$/);
  return child.pid ?? 0;
}

async function startHost(t: Ending, beside: readonly string[], args: readonly string[]): Promise<StandInProcess> {
  const standIn = [process.execPath, '--import', 'tsx', path.join(ROOT, 'test/hosts/main.ts'), ...args];
  const [command = '', ...rest] = [...beside, ...standIn, '--address', METADATA_ADDRESS];
  const child = spawn(command, rest, { cwd: ROOT, stdio: ['pipe', 'pipe', 'inherit'] });
  endAfter(t, child);
  const until = linesOf(child);
  await until(/169\.254\.169\.254/);
  return {
    async say(line) {
      child.stdin.write(`${line}\n`);
      const answer = await until(/^ok$|not understood/);
      if (answer !== 'ok') throw new Error(`${line}: ${answer}`);
    },
  };
}

function endAfter(t: Ending, child: ChildProcess): void {
  killAtExit(child);
  const ended = once(child, 'exit');
  t.after(async () => {
    child.kill('SIGKILL');
    await ended;
  });
}

/** Gives a function that takes lines of standard output, in order, until one matches; rejects where none comes. */
function linesOf({ stdout }: ChildProcess): (match: RegExp) => Promise<string> {
  if (stdout === null) throw new Error('no standard output');
  const lines = on(readline.createInterface({ input: stdout }), 'line', { close: ['close'] });
  return async (match) => {
    const giveUp = new AbortController();
    const late = setTimeout(WAIT_MS, undefined, { signal: giveUp.signal }).then(() => {
      throw new Error(`no line like ${match}`);
    });
    try {
      for (;;) {
        const next = await Promise.race([lines.next(), late]);
        if (next.done === true) throw new Error(`ended without a line like ${match}`);
        const line = String(next.value[0]);
        if (match.test(line)) return line;
      }
    } finally {
      late.catch(() => undefined);
      giveUp.abort();
    }
  };
}

async function invoke([command = '', ...args]: readonly string[]): Promise<void> {
  await run(command, args);
}

function execute([command = '', ...args]: readonly string[]): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(command, args, { timeout: WAIT_MS, killSignal: 'SIGKILL' }, (error, out, err) => {
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : null, out, err });
    });
  });
}
