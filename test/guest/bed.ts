/**
 * One virtual machine: QEMU without KVM, so that it is the same everywhere, a disk of its own over the common image, and as
 * hosts what a case asks for. It ends with the case, and with the tests however these end; of a case that failed the console
 * is kept.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { environment } from '../support/cached-tree.ts';
import { killAtExit } from '../support/program.ts';
import { BOOTING } from './files.ts';
import { type GuestImage, guestImage } from './image.ts';
import { connectTo, type Monitor, openMonitor } from './monitor.ts';

/** 30 s on an idle machine of two processors. */
const BOOT_MS = 300_000;
const COMMAND_MS = 60_000;
/** Less and the kernel panics while it unpacks. */
const MEMORY_MIB = 768;
const JOURNAL = 'journalctl -b --no-pager -o short-monotonic | tail -n 500';
const JOURNAL_MS = 20_000;
const METADATA = '169.254.169.254:80';

export interface GuestHost {
  /** What the firmware says the machine is: `type=1,manufacturer=Amazon EC2`. */
  readonly smbios?: readonly string[];
  /** A port of 127.0.0.1; inside it is `at`, else 169.254.169.254:80. Nothing else is to be reached from there. */
  readonly metadata?: { readonly port: number; readonly at?: string };
  /** Only root reaches 169.254.169.254. */
  readonly firewalled?: boolean;
  /** A directory, mounted inside at /etc/machinefeatures. */
  readonly share?: string;
  /** An image of a disk, attached read-only beside the root. */
  readonly drive?: string;
  /** A reset is the next boot of the same machine; else, and where a kernel panics, it is its end. */
  readonly reboots?: boolean;
}

/** A line that the payload, or whoever waits for the agent's files, has written; `atMs` is our own clock. */
export interface Line {
  readonly text: string;
  readonly atMs: number;
  /** Counted from 1. */
  readonly boot: number;
}

export interface Guest {
  readonly startedMs: number;
  /** Of this boot; also of what was written before it was asked for. */
  line(match: RegExp, withinMs?: number): Promise<Line>;
  /** All so far, of every boot. */
  lines(): readonly Line[];
  /** Once the machine has begun to boot anew. */
  nextBoot(withinMs?: number): Promise<void>;
  /** A command of a shell inside, as root; throws where it fails. */
  shell(command: string, withinMs?: number): Promise<string>;
  readonly monitor: Monitor;
  /** True when the machine has switched itself off within the time. */
  hasEnded(withinMs: number): Promise<boolean>;
}

/** What is printed of a case. */
export interface Figures {
  /** From the host's change to the payload's SIGTERM; null where there is no change. */
  signalMs: number | null;
}

/** `body` gets the machine when the agent has published for the first time. */
export function guestCase(
  name: string,
  prepare: (t: TestContext, directory: string) => GuestHost | Promise<GuestHost>,
  body: (guest: Guest, figures: Figures) => Promise<void>,
): void {
  const image = preparedImage();
  const skip = 'reason' in image ? image.reason : false;
  test(name, { skip, timeout: BOOT_MS * 2 }, async (t) => {
    if ('reason' in image) return;
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-guest-'));
    t.after(() => fs.rmSync(directory, { recursive: true, force: true }));
    const figures: Figures = { signalMs: null };
    let published = 'never';
    let memory = 'unknown';
    let verdict = 'FAILED';
    const host = await prepare(t, directory);
    const { guest, end } = await startGuest(image, host, directory);
    try {
      const first = await guest.line(/^published /, BOOT_MS);
      published = `${secs(first.atMs - guest.startedMs)} (${first.text.replace('published ', '')} s of the kernel)`;
      await guest.line(/^started$/, BOOT_MS);
      memory = await residentIn(guest);
      await body(guest, figures);
      verdict = 'passed';
    } catch (error) {
      const kept = path.join(os.tmpdir(), `mjf-guest-console-${path.basename(directory)}.log`);
      fs.copyFileSync(path.join(directory, 'console'), kept);
      fs.appendFileSync(kept, await guest.shell(JOURNAL, JOURNAL_MS).catch(() => 'no journal: nobody answers'));
      console.log(`${name}: its console is kept in ${kept}`);
      throw error;
    } finally {
      await end();
      const signal = figures.signalMs === null ? 'no change of the host' : secs(figures.signalMs);
      console.log(
        `${name}: boot to first publication ${published}; host's change to payload's signal ${signal}; ${memory}; ${verdict}`,
      );
    }
  });
}

let prepared: ReturnType<typeof guestImage> | undefined;
function preparedImage(): ReturnType<typeof guestImage> {
  prepared ??= guestImage();
  return prepared;
}

const secs = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;

async function residentIn(guest: Guest): Promise<string> {
  const asked = await guest.shell(
    'grep VmRSS "/proc/$(systemctl show -p MainPID --value mjf-agent)/status"; systemctl show -p MemoryCurrent --value mjf-agent',
  );
  const resident = Number(/VmRSS:\s+(\d+) kB/.exec(asked)?.[1]) / 1024;
  const all = Number(/^(\d+)$/m.exec(asked)?.[1]) / 1024 ** 2;
  return `${resident.toFixed(0)} MiB resident (${all.toFixed(0)} MiB with its children and files)`;
}

async function startGuest(
  image: GuestImage,
  host: GuestHost,
  directory: string,
): Promise<{ readonly guest: Guest; readonly end: () => Promise<void> }> {
  const at = (name: string): string => path.join(directory, name);
  const layer = ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', image.disk, at('disk')];
  const made = spawnSync('qemu-img', layer, { encoding: 'utf8', env: environment() });
  if (made.status !== 0) throw new Error(`qemu-img: ${made.stderr}`);

  const startedMs = Date.now();
  // With us also where nobody is left to end it.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', 'qemu-system-x86_64', ...options(image, host, at)], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: environment(),
  });
  killAtExit(child);
  const complaints = complaintsOf(child);
  const ended = once(child, 'exit').then(([code, signal]) => {
    complaints.text += ` QEMU has ended (${signal ?? code})`;
    return true;
  });

  const end = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
  };
  try {
    const monitor = await openMonitor(at('monitor'));
    const [story, port] = [await connectTo(at('story')), await connectTo(at('shell'))];
    const guest: Guest = {
      startedMs,
      ...lineReader(readline.createInterface({ input: story }), () => complaints.text),
      shell: shellOn(port, () => complaints.text),
      monitor,
      hasEnded: (withinMs) => Promise.race([ended, sleep(withinMs, false, { ref: false })]),
    };
    return {
      guest,
      async end() {
        monitor.close();
        story.destroy();
        port.destroy();
        await end();
      },
    };
  } catch (error) {
    await end();
    throw new Error(`${(error as Error).message} (${complaints.text.trim()})`);
  }
}

function options(image: GuestImage, host: GuestHost, at: (name: string) => string): readonly string[] {
  // A connection each: "guestfwd=…-tcp:…" shares one and hangs at the second request.
  const { metadata } = host;
  const forward =
    metadata === undefined ? '' : `,guestfwd=tcp:${metadata.at ?? METADATA}-cmd:nc 127.0.0.1 ${metadata.port}`;
  const words = [
    ...['root=/dev/vda', 'rw', 'console=ttyS0', 'panic=-1', 'quiet'],
    ...(host.share === undefined ? [] : ['bed.share']),
    ...(host.firewalled === true ? ['bed.firewall'] : []),
  ];
  const socket = (id: string): string => `socket,id=${id},path=${at(id)},server=on,wait=off`;
  return [
    ...['-machine', 'pc', '-accel', 'tcg', '-cpu', 'max', '-smp', '2', '-m', String(MEMORY_MIB)],
    ...['-nodefaults', '-no-user-config', '-display', 'none'],
    ...(host.reboots === true ? [] : ['-no-reboot']),
    ...['-kernel', image.kernel, '-initrd', image.initrd, '-append', words.join(' ')],
    ...['-serial', `file:${at('console')}`, '-chardev', socket('story'), '-serial', 'chardev:story'],
    ...['-qmp', `unix:${at('monitor')},server=on,wait=off`],
    ...['-device', 'virtio-serial', '-chardev', socket('shell'), '-device', 'virtserialport,chardev=shell,name=bed'],
    ...['-drive', `file=${at('disk')},if=virtio,format=qcow2,cache=unsafe`],
    ...(host.drive === undefined ? [] : ['-drive', `file=${host.drive},if=virtio,format=raw,readonly=on`]),
    ...['-netdev', `user,id=net,net=169.254.0.0/16,host=169.254.0.2,dhcpstart=169.254.0.15,restrict=on${forward}`],
    ...['-device', 'virtio-net-pci,netdev=net', '-device', 'virtio-rng-pci'],
    ...(host.share === undefined
      ? []
      : ['-virtfs', `local,path=${host.share},mount_tag=mjf,security_model=none,readonly=on,multidevs=remap`]),
    ...(host.smbios ?? []).flatMap((each) => ['-smbios', each]),
  ];
}

function complaintsOf(child: ChildProcess): { text: string } {
  const complaints = { text: '' };
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (text: string) => {
      complaints.text = (complaints.text + text).slice(-4096);
    });
  return complaints;
}

function lineReader(lines: readline.Interface, complaints: () => string): Pick<Guest, 'line' | 'lines' | 'nextBoot'> {
  const seen: Line[] = [];
  const looks = new Set<() => void>();
  /** Written so far by a machine that has come so far, and looked at. */
  let [writing, looking] = [0, 1];
  lines.on('line', (written) => {
    const text = written.trim();
    if (text === BOOTING) writing += 1;
    seen.push({ text, atMs: Date.now(), boot: writing });
    for (const look of [...looks]) look();
  });
  const line: Guest['line'] = (match, withinMs = COMMAND_MS) =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const found = seen.find(({ text, boot }) => boot === looking && match.test(text));
        if (found === undefined) return;
        clearTimeout(timer);
        looks.delete(look);
        resolve(found);
      };
      const timer = setTimeout(() => {
        looks.delete(look);
        const said = seen.map(({ text }) => text).join(' | ');
        reject(new Error(`no line like ${match} within ${withinMs / 1000} s; there were: ${said}. ${complaints()}`));
      }, withinMs);
      looks.add(look);
      look();
    });
  return {
    line,
    lines: () => seen,
    async nextBoot(withinMs = BOOT_MS) {
      looking += 1;
      await line(new RegExp(`^${BOOTING}$`), withinMs);
    },
  };
}

/** What no command writes. */
const END = '\u001e';

function shellOn(port: NodeJS.ReadWriteStream, complaints: () => string): Guest['shell'] {
  let said = '';
  let wake: () => void = () => undefined;
  port.setEncoding('utf8');
  port.on('data', (text: string) => {
    said += text;
    wake();
  });
  let before: Promise<unknown> = Promise.resolve();
  let asked = 0;
  const ask = (command: string, withinMs: number): Promise<string> =>
    new Promise((resolve, reject) => {
      asked += 1;
      const number = asked;
      const timer = setTimeout(
        () => reject(new Error(`no answer within ${withinMs / 1000} s: ${command}. ${complaints()}`)),
        withinMs,
      );
      wake = () => {
        // What was given up, or cut off by the end of a boot, may have said something meanwhile.
        const [, out = '', code] = new RegExp(`${END}([^${END}]*)${END}${number} (\\d+)\\n`).exec(said) ?? [];
        if (code === undefined) return;
        clearTimeout(timer);
        said = '';
        if (code === '0') resolve(out);
        else reject(new Error(`${command}: ${code} ${out}`));
      };
      port.write(`printf '\\036'; { ${command}\n} < /dev/null 2>&1; printf '\\036${number} %s\\n' $?\n`);
    });
  return (command, withinMs = COMMAND_MS) => {
    const answer = before.then(() => ask(command, withinMs));
    before = answer.catch(() => undefined);
    return answer;
  };
}
