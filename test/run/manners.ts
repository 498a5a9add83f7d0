/** Who is in the harness of manners, what each is to get by the plan, and what it got (SEMANTICS S3.4, S3.5). */
import assert from 'node:assert/strict';
import { isEnd, MANNERS, type Manner, type TakesTerm, type ZooRecord } from '../support/zoo.ts';

/** `[stop]` of the daemon: long enough for who needs three seconds, also on a busy machine. */
export const GRACE_SECS = 12;
const KILL_SECS = 2;
export const CONFIG = `[stop]\ngrace = "${GRACE_SECS}s"\nsteps = [ { at = "grace", signal = "SIGTERM" }, { at = "${KILL_SECS}s", signal = "SIGKILL" } ]\n`;
/** The first step of anybody. */
export const FIRST_STEP_SECS = 14;

interface Step {
  readonly secs: number;
  readonly signal: string;
  readonly to?: 'leader' | 'group' | 'all';
}

/** What a registration says of its own stopping; the steps that follow from it. */
const POLICIES = {
  'as configured': { body: {}, steps: usual(GRACE_SECS) },
  'own grace': { body: { grace_secs: 9 }, steps: usual(9) },
  'own steps': ownSteps([
    { secs: FIRST_STEP_SECS, signal: 'SIGUSR1' },
    { secs: 10, signal: 'SIGTERM' },
    { secs: 1, signal: 'SIGKILL' },
  ]),
  'all are told': ownSteps([
    { secs: 13, signal: 'SIGUSR2', to: 'all' },
    { secs: 11, signal: 'SIGTERM', to: 'all' },
    { secs: 3, signal: 'SIGKILL' },
  ]),
} as const satisfies Readonly<Record<string, { readonly body: object; readonly steps: readonly Step[] }>>;
type PolicyName = keyof typeof POLICIES;

/** How a payload is registered. */
export type By = 'pid' | 'group' | 'marker' | 'cgroup' | 'exec';

export interface Subject {
  readonly name: string;
  readonly manner: Manner;
  readonly by: By;
  readonly uid: number;
  readonly policy: PolicyName;
  /** It ends by itself before there is any signal. */
  readonly early: boolean;
  /** A bystander's name whose group it is in. */
  readonly groupOf?: string;
}

export const bodyOf = ({ policy }: Subject): object => POLICIES[policy].body;

/** `unprepared` and `other` are the uids of two users. */
export function population(users: readonly number[], copies: number): readonly Subject[] {
  const subjects: Subject[] = [];
  const add = (manner: Manner, by: By, policy: PolicyName, more: Partial<Subject> = {}): void => {
    for (let copy = 0; copy < (by === 'exec' ? 1 : copies); copy += 1) {
      const uid = by === 'exec' ? 0 : (users[copy % users.length] ?? 0);
      subjects.push({ name: `s${subjects.length}`, manner, by, policy, uid, early: false, ...more });
    }
  };
  for (const policy of ['as configured', 'own grace', 'own steps', 'all are told'] as const) {
    // A warning signal kills who is not prepared: opt-in, and not for these.
    const quiet = policy === 'as configured' || policy === 'own grace';
    for (const by of ['pid', 'group'] as const) {
      for (const manner of ['obeys', 'slow', 'ignores', 'stopped', 'regroups'] as const) {
        // Stopped, it hears the warning only together with its SIGTERM.
        if (quiet || manner !== 'stopped') add(manner, by, policy);
      }
      if (quiet) add('plain', by, policy);
    }
    for (const manner of ['group', 'leaves'] as const) add(manner, 'group', policy);
    if (quiet) for (const manner of ['shell', 'trapping'] as const) add(manner, 'group', policy);
  }
  // Of the pid that was registered nothing is left, but stopping had begun.
  for (const manner of ['group', 'leaves', 'shell', 'orphans'] as const) add(manner, 'pid', 'as configured');
  for (const policy of ['as configured', 'own steps'] as const) {
    add('orphans', 'group', policy);
    for (const manner of ['daemonises', 'deserts', 'regroups', 'group'] as const) {
      add(manner, 'marker', policy);
      add(manner, 'cgroup', policy);
    }
  }
  for (const by of ['pid', 'group'] as const) add('obeys', by, 'as configured', { early: true });
  add('ignores', 'pid', 'as configured', { groupOf: 'leading-bystander' });
  for (const manner of ['obeys', 'ignores', 'group', 'regroups', 'daemonises'] as const)
    add(manner, 'exec', 'as configured');
  return subjects;
}

/** S3.4. A control group is signalled whole, and so is everything by its SIGKILL. */
const DEFAULT_RECEIVER = { pid: 'leader', marker: 'leader', group: 'group', exec: 'group', cgroup: 'all' } as const;

/** Of a group the SIGTERM goes to those too who left it. */
function receiverOf(by: By, signal: string): Due['to'] {
  const isGroup = by === 'group' || by === 'exec';
  return signal === 'SIGKILL' || (signal === 'SIGTERM' && isGroup) ? 'all' : DEFAULT_RECEIVER[by];
}

/** A step as the plan is to have it. */
export interface Due {
  readonly signal: string;
  readonly to: 'leader' | 'group' | 'all';
  readonly dueMs: number;
}

/** S3.4 and S3.5 by the letter. */
export function planOf({ by, policy }: Subject, deadlineMs: number): readonly Due[] {
  const { steps } = POLICIES[policy];
  const term = steps.find(({ signal }) => signal === 'SIGTERM');
  const windowMs = (term?.secs ?? 0) * 1000;
  return steps.map(({ signal, secs, ...step }: Step) => ({
    signal,
    to: step.to ?? receiverOf(by, signal),
    dueMs: signal === 'SIGKILL' ? deadlineMs - Math.min(secs * 1000, windowMs * 0.2) : deadlineMs - secs * 1000,
  }));
}

interface Wave {
  readonly signal: string;
  readonly to: Due['to'] | 'rest';
}

/** What each member is to have in its record, the end included, in order. `exit:0?` may also have come to SIGKILL. */
export function expected(subject: Subject, deadlineMs: number): ReadonlyMap<string, readonly string[]> {
  // Who is told to go has gone before there is any signal.
  const members = Object.entries<TakesTerm>(MANNERS[subject.manner]).filter(([, takes]) => takes !== 'told');
  const got = new Map<string, string[]>(members.map(([member]) => [member, []]));
  if (subject.early) return new Map([['leader', ['exit:0']]]);
  const alive = new Map(members);
  // S3.4: whom a leader does not stop itself has a SIGTERM too before the SIGKILL.
  const waves = planOf(subject, deadlineMs).flatMap(({ signal, to }): readonly Wave[] =>
    signal === 'SIGTERM' && to === 'leader'
      ? [
          { signal, to },
          { signal, to: 'rest' },
        ]
      : [{ signal, to }],
  );
  for (const { signal, to } of waves) {
    const receivers = [...alive].filter(([member]) =>
      to === 'rest' ? member !== 'leader' : to === 'all' || member === 'leader' || (to === 'group' && inGroup(member)),
    );
    for (const [member, takes] of receivers) {
      const record = got.get(member);
      if (takes === 'dies unseen') got.delete(member);
      else if (signal === 'SIGKILL') record?.push(...(takes === 'ends late' ? ['exit:0?'] : ['died:SIGKILL']));
      else if (signal === 'SIGTERM' && takes === 'dies') record?.push('died:SIGTERM');
      else record?.push(signal, ...(signal === 'SIGTERM' && takes === 'ends' ? ['exit:0'] : []));
      if (signal === 'SIGKILL' || (signal === 'SIGTERM' && /^(ends|dies|dies unseen)$/.test(takes)))
        alive.delete(member);
    }
  }
  // Ends are recorded by the keeper of the zoo, whose child `exec` is not.
  if (subject.by !== 'exec') return got;
  return new Map([...got].map(([member, record]) => [member, record.filter((what) => !what.includes(':'))]));
}

const inGroup = (member: string): boolean => member.startsWith('mate');

/** Compares what the members of one payload got with its plan; `senders` may have sent it. */
export function judge(
  subject: Subject,
  records: readonly ZooRecord[],
  deadlineMs: number,
  sender: number,
): readonly string[] {
  const faults: string[] = [];
  const plan = planOf(subject, deadlineMs);
  const { name, manner, by, policy } = subject;
  const fault = (text: string) => faults.push(`${name} (${manner}, by ${by}, ${policy}): ${text}`);
  for (const [member, wanted] of expected(subject, deadlineMs)) {
    // The kernel's own words (a session without its leader) and births are nobody's doing.
    const own = records.filter(
      (each) => each.member === member && each.what !== 'born' && !(by === 'exec' && isEnd(each)),
    );
    // To go on is part of SIGTERM for one that is stopped, and `exec` does not ask whether it is.
    const goesOn = manner === 'stopped' || by === 'exec';
    const got = own.filter(({ what }) => what !== 'SIGCONT' || !goesOn).map(({ what }) => what);
    const late =
      wanted.at(-1) === 'exit:0?'
        ? [...wanted.slice(0, -1), got.at(-1) === 'died:SIGKILL' ? 'died:SIGKILL' : 'exit:0']
        : wanted;
    if (got.join() !== late.join()) fault(`${member} was to get ${late.join()} and got ${got.join()}`);
    for (const each of own) {
      const { what, sender: from, atMs } = each;
      const signal = what.startsWith('died:') ? what.slice('died:'.length) : what;
      const dueMs = plan.find((step) => step.signal === signal)?.dueMs;
      if (dueMs !== undefined && atMs < dueMs - CLOCK_SLACK_MS)
        fault(`${member}: ${what} came ${dueMs - atMs} ms too early`);
      if (!isEnd(each) && from >= 0 && from !== sender) fault(`${member} got ${what} from ${from}, not from ${sender}`);
    }
  }
  const kills = records.filter(({ what }) => what === 'died:SIGKILL').map(({ atMs }) => atMs);
  const terms = records
    .filter(({ member, what }) => member === 'leader' && /SIGTERM/.test(what))
    .map(({ atMs }) => atMs);
  if (Math.min(...kills) < Math.max(...terms) || (kills.length > 0 && terms.length === 0))
    fault('SIGKILL before SIGTERM');
  return faults;
}
/** The wall clock is read in whole milliseconds, and after SIGTERM time is counted on another clock. */
const CLOCK_SLACK_MS = 2;

/** The row of a payload before anything has happened is its plan. */
export function assertRow(subject: Subject, row: PlannedRow, deadlineMs: number): void {
  assert.deepEqual(
    row.steps.map(({ signal, to, due, state }) => ({ signal, to, dueMs: Math.round((due ?? 0) * 1000), state })),
    planOf(subject, deadlineMs).map((step) => ({ ...step, dueMs: Math.round(step.dueMs), state: 'planned' })),
    `${subject.name} (${subject.manner}, by ${subject.by}, ${subject.policy})`,
  );
}
export interface PlannedRow {
  readonly id: string;
  readonly name: string;
  readonly pid: number;
  readonly group: boolean;
  readonly steps: readonly {
    readonly signal: string;
    readonly to: string;
    readonly due: number | null;
    readonly state: string;
  }[];
}

function usual(graceSecs: number): readonly Step[] {
  return [
    { secs: graceSecs, signal: 'SIGTERM' },
    { secs: KILL_SECS, signal: 'SIGKILL' },
  ];
}

function ownSteps(steps: readonly Step[]): { readonly body: object; readonly steps: readonly Step[] } {
  return { body: { steps: steps.map(({ secs, ...step }) => ({ ...step, at: `${secs * 1000}ms` })) }, steps };
}
