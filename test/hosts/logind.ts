/**
 * A system bus of its own with a logind on it, for tests and by hand: a real `dbus-daemon` on a private socket, and Debian's
 * python3-dbusmock (logind.py) as org.freedesktop.login1. It behaves like systemd 252, as it was watched: PrepareForShutdown
 * is signalled before the property changes, and a schedule changes without any signal.
 */
import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { StandIn } from './by-hand.ts';

export interface LogindHost {
  /** `unix:path=…` */
  readonly address: string;
  readonly socketPath: string;
  /** A command of logind.py; fulfilled with its answer when it was carried out. */
  tell(command: string): Promise<string>;
  /** Hangs, and goes on. */
  freeze(): void;
  thaw(): void;
  /** Ends logind alone; only `startBus` brings it back. */
  killLogind(): void;
  /** Ends bus and logind; the socket's file stays, as after a crash. */
  stopBus(): Promise<void>;
  startBus(): Promise<void>;
  close(): Promise<void>;
}

type Piped = ChildProcessByStdio<Writable, Readable, null>;

/** Should the test be killed, its children go with it. */
const WITH_US = ['--pdeathsig', 'KILL', '--'];

/** Debian's own: python3-dbusmock is installed for no other. */
const PYTHON = '/usr/bin/python3';
const CONFIGURATION = (socketPath: string): string => `<!DOCTYPE busconfig PUBLIC
  "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=${socketPath}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
`;

/** Why it cannot be started here, or undefined. */
export function logindHostLacks(): string | undefined {
  if (spawnSync('dbus-daemon', ['--version']).error !== undefined) return 'dbus-daemon is not installed';
  const { status } = spawnSync(PYTHON, ['-c', 'import dbusmock, gi'], { stdio: 'ignore' });
  return status === 0 ? undefined : 'python3-dbusmock is not installed';
}

export async function startLogindHost(): Promise<LogindHost> {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-logind-'));
  const socketPath = path.join(directory, 'bus');
  const address = `unix:path=${socketPath}`;
  const configuration = path.join(directory, 'bus.conf');
  fs.writeFileSync(configuration, CONFIGURATION(socketPath));
  let bus: Piped | undefined;
  let logind: { readonly child: Piped; readonly lines: AsyncIterator<string> } | undefined;

  async function startBus(): Promise<void> {
    fs.rmSync(socketPath, { force: true });
    bus = start('dbus-daemon', [`--config-file=${configuration}`, '--nofork', '--print-address=1']);
    await first(bus);
    const child = start(PYTHON, [fileURLToPath(new URL('logind.py', import.meta.url)), address]);
    const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    logind = { child, lines };
    const { value } = await lines.next();
    if (value !== 'ready') throw new Error('the logind of the test did not start');
  }

  async function stopBus(): Promise<void> {
    // The bus first: nobody is to hear of it that logind went.
    const children = [bus, logind?.child].filter((child) => child !== undefined);
    for (const child of children) {
      const ended = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined;
      child.kill('SIGKILL');
      await ended;
      child.stdin.destroy();
    }
    bus = undefined;
    logind = undefined;
  }

  await startBus();
  return {
    address,
    socketPath,
    async tell(command) {
      if (logind === undefined) throw new Error('there is no logind now');
      logind.child.stdin.write(`${command}\n`);
      const { value, done } = await logind.lines.next();
      if (done === true || value.startsWith('error ')) throw new Error(`${command}: ${value}`);
      return value;
    },
    freeze: () => void logind?.child.kill('SIGSTOP'),
    thaw: () => void logind?.child.kill('SIGCONT'),
    killLogind: () => void logind?.child.kill('SIGKILL'),
    stopBus,
    startBus,
    async close() {
      await stopBus();
      fs.rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** `npm run host -- logind`. */
export const standIn: StandIn = {
  help: `  needs dbus-daemon and python3-dbusmock (Debian packages)
  begin [TYPE [told]]       a shutdown begins (poweroff, reboot, kexec, …); told: named in the signal, as since systemd 255
  abort                     it is called off
  schedule TYPE +SECS       as shutdown +N does it
  cancel                    as shutdown -c
  delay SECS                InhibitDelayMaxSec
  forge true|false          another user claims that a shutdown begins
  freeze, thaw              logind hangs; goes on
  leave, come               logind leaves the bus; comes back
  inhibitors                who holds a lock
  drop                      the bus is restarted
`,
  async start() {
    const lacks = logindHostLacks();
    if (lacks !== undefined) throw new Error(`cannot be started: ${lacks}`);
    const host = await startLogindHost();
    const say = (command: string): void => {
      host.tell(command).then(
        (answer) => void (answer === 'ok' || process.stdout.write(`${answer}\n`)),
        (error: Error) => process.stdout.write(`${error.message}\n`),
      );
    };
    return {
      greeting: `a system bus with logind: ${host.address}\n\n[source.logind]\nbus = "${host.address}"\n`,
      host: {
        fault: () => undefined,
        dropConnections: () => void host.stopBus().then(host.startBus),
        setClockOffset: () => undefined,
        close: host.close,
      },
      obey(verb, words) {
        const [first = '', second = ''] = words;
        if (verb === 'freeze') host.freeze();
        else if (verb === 'thaw') host.thaw();
        else if (verb === 'schedule')
          say(`schedule ${first} ${Math.round((Date.now() / 1000 + Number(second)) * 1e6)}`);
        else if (verb === 'cancel') say('abort');
        else if (verb === 'delay') say(`delay ${Number(first) * 1e6}`);
        else if (['begin', 'abort', 'forge', 'leave', 'come', 'inhibitors'].includes(verb))
          say([verb, ...words].join(' '));
        else return false;
        return true;
      },
    };
  },
};

function start(command: string, args: readonly string[]): Piped {
  const child = spawn('setpriv', [...WITH_US, command, ...args], { stdio: ['pipe', 'pipe', 'ignore'] });
  // A write to one that has just ended shows as a missing answer.
  child.stdin.on('error', () => undefined);
  return child;
}

/** Its first output; throws when it ends without. */
async function first(child: Piped): Promise<void> {
  const ended = once(child, 'exit').then(() => Promise.reject(new Error('dbus-daemon did not start')));
  ended.catch(() => undefined);
  await Promise.race([once(child.stdout, 'data'), ended]);
}
