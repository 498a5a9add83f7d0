/**
 * Hundreds of real processes of different manners, kept by one small process (zoo.py): each writes down what signal it got,
 * from whom and when; how each one ended is written down too, also of those that fork away.
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Ending, startPayload } from './processes.ts';

export const ZOO = fileURLToPath(new URL('./zoo.py', import.meta.url));
/** The system's own where there is one: every user can run it. Without the site's modules it starts in a third of the time. */
export const PYTHON = [fs.existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3', '-S', '-E'] as const;
/** Between two looks at the records. */
const LOOK_MS = 10;
const READ_BYTES = 65_536;

/** How each manner takes its SIGTERM, and who belongs to it besides its leader. */
export const MANNERS = {
  /** Ends at once. */
  obeys: { leader: 'ends' },
  /** Needs three seconds. */
  slow: { leader: 'ends late' },
  ignores: { leader: 'stays' },
  /** Has no handler: what it gets it dies of. */
  plain: { leader: 'dies' },
  /** Under SIGSTOP, until somebody lets it go on; then it ends. */
  stopped: { leader: 'ends' },
  /** Two children in its group. */
  group: { leader: 'ends', mate1: 'ends', mate2: 'ends' },
  /** Its child ignores everything and stays in the group when it ends. */
  leaves: { leader: 'ends', mate1: 'stays' },
  /** Its child has made a group of its own. */
  regroups: { leader: 'stays', apart: 'stays' },
  /** Has forked twice, with a session of its own: the parent of that one is gone. */
  daemonises: { leader: 'stays', daemon: 'stays' },
  /** The same, and then ends on SIGTERM. */
  deserts: { leader: 'ends', daemon: 'stays' },
  /** Its daemon's parent ends only when it is told to, unseen, and leaves an orphan. */
  orphans: { leader: 'ends', daemon: 'stays', between: 'told' },
  /** A child in its group, both deaf to everything. */
  pair: { leader: 'stays', mate1: 'stays' },
  /** A real shell with a child in the background, no handler. */
  shell: { leader: 'dies', mate1: 'dies' },
  /** A shell that traps SIGTERM, and buries its child itself: of that one no end is recorded. */
  trapping: { leader: 'stays', mate1: 'dies unseen' },
} as const satisfies Readonly<Record<string, Readonly<Record<string, TakesTerm>>>>;
export type Manner = keyof typeof MANNERS;
export type TakesTerm = 'ends' | 'ends late' | 'stays' | 'dies' | 'dies unseen' | 'told';

export interface Animal {
  readonly name: string;
  readonly manner: Manner;
  readonly uid?: number;
  /** In a session of its own; otherwise in a group of its own. */
  readonly session?: boolean;
  /** In the group of this one instead. */
  readonly group_of?: string;
  /** `NAME=VALUE` in its environment. */
  readonly marker?: string;
}

export interface ZooRecord {
  readonly name: string;
  /** `leader`, or as in MANNERS. */
  readonly member: string;
  readonly pid: number;
  /** A signal's name, `exit:CODE` or `died:SIGNAL`; `born` of those that the zoo did not start by name. */
  readonly what: string;
  /** Pid of the sender: 0 = the kernel, -1 = not known (a shell's trap). */
  readonly sender: number;
  readonly atMs: number;
}

/** Whether this is how a member ended. */
export const isEnd = ({ what }: ZooRecord): boolean => what.includes(':');

export interface Zoo {
  /** Pids by member, by name; resolves when each is in its habit. */
  start(animals: readonly Animal[]): Promise<ReadonlyMap<string, ReadonlyMap<string, number>>>;
  /** These end by themselves; resolves when they have. */
  end(pids: readonly number[]): Promise<void>;
  /** Uses up pids from now on, so that strangers get these as soon as they are free. */
  want(pids: readonly number[]): Promise<void>;
  /** SIGKILL to every member of these, and to nobody else; for those that a failed test leaves. */
  kill(names: readonly string[]): Promise<void>;
  /** Everything so far, in the order in which it was written. */
  records(): readonly ZooRecord[];
  recordsOf(name: string): readonly ZooRecord[];
  /** The records of one, as soon as it has one of each of these members that is its end. Bounded. */
  untilEnded(name: string, members: readonly string[], timeoutMs: number): Promise<readonly ZooRecord[]>;
  /** For one that somebody else starts: `member RECORD NAME MANNER`. */
  memberCommand(name: string, manner: Manner): readonly [string, ...string[]];
}

/** Why there can be no zoo here; undefined where there can. */
export function whyNoZoo(): string | undefined {
  const { status } = spawnSync(PYTHON[0], [...PYTHON.slice(1), '-c', 'import signal; signal.sigtimedwait']);
  return status === 0 ? undefined : 'python3 is not installed';
}

/** `file` takes the records. Ends with `t`, and everything in it. */
export async function startZoo(t: Ending, file: string): Promise<Zoo> {
  fs.writeFileSync(file, '');
  // Also for animals of other users: their directory may be closed to them, the descriptor is theirs.
  const tail = tailOf(file);
  t.after(tail.close);
  const keeper = await startPayload(t, '', { command: [...PYTHON, ZOO, 'keep', file] });
  let answers = 0;
  /** One order, one answer, in turn. */
  let turn: Promise<unknown> = Promise.resolve();
  const order = (what: object): Promise<string> => {
    const answer = turn.then(async () => {
      answers += 1;
      keeper.child.stdin?.write(`${JSON.stringify({ ...what, n: answers })}\n`);
      return String((await keeper.line(new RegExp(`^${answers} (.*)$`)))[1]);
    });
    turn = answer.catch(() => undefined);
    return answer;
  };
  return {
    async start(animals) {
      const born = JSON.parse(await order({ start: animals })) as [string, string, number][];
      const byName = new Map<string, Map<string, number>>(animals.map(({ name }) => [name, new Map()]));
      for (const [name, member, pid] of born) byName.get(name)?.set(member, pid);
      return byName;
    },
    async end(pids) {
      await order({ end: pids });
    },
    async want(pids) {
      await order({ want: pids });
    },
    async kill(names) {
      await order({ kill: names });
    },
    records: () => tail.all(),
    recordsOf: (name) => tail.of(name),
    async untilEnded(name, members, timeoutMs) {
      const giveUpAt = Date.now() + timeoutMs;
      for (;;) {
        const own = tail.of(name);
        const left = members.filter((member) => !own.some((each) => each.member === member && isEnd(each)));
        if (left.length === 0) return own;
        if (Date.now() > giveUpAt) throw new Error(`waited ${timeoutMs} ms in vain for ${name} to end: ${left.join()}`);
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      }
    },
    memberCommand: (name, manner) => [...PYTHON, ZOO, 'member', file, name, manner],
  };
}

/** The file read on from where it was read to: it grows by thousands of lines, and many look at it. */
function tailOf(file: string) {
  const all: ZooRecord[] = [];
  const byName = new Map<string, ZooRecord[]>();
  const fd = fs.openSync(file, 'r');
  const buffer = Buffer.alloc(READ_BYTES);
  let half = '';
  const readOn = (): void => {
    for (let length = fs.readSync(fd, buffer); length > 0; length = fs.readSync(fd, buffer)) {
      const lines = (half + buffer.toString('latin1', 0, length)).split('\n');
      half = lines.pop() ?? '';
      for (const record of lines.map(parse)) {
        all.push(record);
        const own = byName.get(record.name);
        if (own === undefined) byName.set(record.name, [record]);
        else own.push(record);
      }
    }
  };
  return {
    all() {
      readOn();
      return [...all];
    },
    of(name: string) {
      readOn();
      return [...(byName.get(name) ?? [])];
    },
    close: () => fs.closeSync(fd),
  };
}

function parse(line: string): ZooRecord {
  const [name = '', member = '', pid, what = '', sender, atMs] = line.split(' ');
  return { name, member, pid: Number(pid), what, sender: Number(sender), atMs: Number(atMs) };
}
