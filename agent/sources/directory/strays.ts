/**
 * Finds reader children that an agent has given up: stuck in a hung share they outlive SIGKILL and their parent, and a
 * restarted agent must count them too, or each restart leaves two more (SYSTEMS.md, "Hung shares").
 */
import fs from 'node:fs';
import path from 'node:path';

/**
 * How the reader child is called: `mjf-agent __read-directory MOUNT_POINT PARENT`. PARENT is `PID:START_TICKS`, so that the
 * reader of another program that lives is no stray. Not in the environment, which nobody but its own user can read.
 */
export const READER_COMMAND = '__read-directory';
/**
 * The child's command name in /proc. Looked at first, since reading the `cmdline` of any process that is stuck in a page
 * fault can block the reader itself, while `comm` cannot.
 */
export const READER_COMM = 'mjf-reader';

const SIGKILL_BIT = 1n << 8n;

/** `PID:START_TICKS` of a process, or undefined when there is none. `proc` is where procfs is mounted. */
export function processIdentity(proc: string, pid: number | 'self'): string | undefined {
  try {
    const stat = fs.readFileSync(path.join(proc, String(pid), 'stat'), 'latin1');
    // The command name may hold blanks and brackets: fields are counted behind its last bracket. Start time is field 22.
    const ticks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    return ticks === undefined ? undefined : `${Number.parseInt(stat, 10)}:${ticks}`;
  } catch {
    return undefined;
  }
}

/**
 * Pids of readers of this mount that nobody waits for: killed and still there, or their parent is gone, or it is this
 * process (`self`) and they are not in `mine`. Only those of our own user (`uid`). Never throws; what cannot
 * be read does not count.
 */
export function strayReaders(
  proc: string,
  mountPoint: string,
  self: string,
  mine: ReadonlySet<number>,
  uid: number = process.geteuid?.() ?? -1,
): readonly number[] {
  const strays: number[] = [];
  for (const name of entriesOf(proc)) {
    if (!/^\d+$/.test(name) || textOf(proc, name, 'comm').trimEnd() !== READER_COMM) continue;
    const status = textOf(proc, name, 'status');
    // Anybody may call himself so, and would make the agent give up the share.
    if (!belongsTo(status, uid)) continue;
    const args = textOf(proc, name, 'cmdline').split('\0');
    const [command, where, parent = ''] = args.slice(args.indexOf(READER_COMMAND));
    if (command !== READER_COMMAND || where !== mountPoint) continue;
    const pid = Number(name);
    const waitedFor = parent === self ? mine.has(pid) : processIdentity(proc, Number.parseInt(parent, 10)) === parent;
    if (!waitedFor || isKilled(status)) strays.push(pid);
  }
  return strays;
}

/** All four of its users. */
const belongsTo = (status: string, uid: number): boolean =>
  new RegExp(`^Uid:${`\\s+${uid}`.repeat(4)}$`, 'm').test(status);

/** SIGKILL pending in proc_pid_status(5): only a process stuck in the kernel shows that for longer than a moment. */
function isKilled(status: string): boolean {
  const pending = status.matchAll(/^(?:SigPnd|ShdPnd):\s*([0-9a-f]+)$/gm);
  return [...pending].some(([, mask]) => (BigInt(`0x${mask}`) & SIGKILL_BIT) !== 0n);
}

function entriesOf(dir: string): readonly string[] {
  try {
    return fs.readdirSync(dir);
  } catch {
    return [];
  }
}

function textOf(proc: string, pid: string, file: string): string {
  try {
    return fs.readFileSync(path.join(proc, pid, file), 'utf8');
  } catch {
    return '';
  }
}
