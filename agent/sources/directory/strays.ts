/**
 * Finds reader children that an agent has given up: stuck in a hung share they outlive SIGKILL and their parent, and a
 * restarted agent must count them too, or each restart leaves two more (SYSTEMS.md, "Hung shares").
 */
import fs from 'node:fs';
import path from 'node:path';

/** How the reader child is called: `mjf-agent __read-directory MOUNT_POINT`. */
export const READER_COMMAND = '__read-directory';
/**
 * The child's command name in /proc. Looked at first, since reading the `cmdline` of any process that is stuck in a page
 * fault can block the reader itself, while `comm` cannot.
 */
export const READER_COMM = 'mjf-reader';
/** Environment variable that names the parent as `PID:START_TICKS`, so that a living other agent's reader is no stray. */
export const PARENT_VARIABLE = 'MJF_READER_PARENT';

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
 * process (`self`) and they are not in `mine`. Never throws; what cannot be read does not count.
 */
export function strayReaders(
  proc: string,
  mountPoint: string,
  self: string,
  mine: ReadonlySet<number>,
): readonly number[] {
  const strays: number[] = [];
  for (const name of entriesOf(proc)) {
    if (!/^\d+$/.test(name) || textOf(proc, name, 'comm').trimEnd() !== READER_COMM) continue;
    const args = textOf(proc, name, 'cmdline').split('\0');
    if (args[args.indexOf(READER_COMMAND) + 1] !== mountPoint || !args.includes(READER_COMMAND)) continue;
    const parent = textOf(proc, name, 'environ')
      .split('\0')
      .find((entry) => entry.startsWith(`${PARENT_VARIABLE}=`))
      ?.slice(PARENT_VARIABLE.length + 1);
    const pid = Number(name);
    const waitedFor =
      parent === self
        ? mine.has(pid)
        : parent !== undefined && processIdentity(proc, Number.parseInt(parent, 10)) === parent;
    if (!waitedFor || isKilled(textOf(proc, name, 'status'))) strays.push(pid);
  }
  return strays;
}

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
