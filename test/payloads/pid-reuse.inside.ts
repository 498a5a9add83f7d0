/**
 * Runs inside a pid name space of its own (pid-reuse.slow.test.ts), where pids can be made to come again. Prints a JSON line
 * for each story: what was found, by which the test judges.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import { pino } from 'pino';
import type { PayloadSpec, ProcessRef, StepReceiver } from '../../agent/lifetime/types.ts';
import { openPayloads } from '../../agent/payloads/payloads.ts';

/** Just above what the kernel reserves (300), so that pids come around within some hundred forks. */
const SMALL_SPACE = 500;
const STORM_ROUNDS = 60;

const RECEIVERS = ['leader', 'group', 'all'] as const;
const killed: number[] = [];
const log = pino({ level: 'silent' });
const open = () =>
  openPayloads({
    selfPid: process.pid,
    log,
    journal: { done: () => undefined },
    now: () => ({ wall: Date.now(), mono: performance.now() }),
    kill: (pid) => void killed.push(pid),
  });

function startTicks(pid: number): number {
  const text = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
  return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[19]);
}

interface Started {
  readonly child: ChildProcess;
  readonly ref: ProcessRef;
  end(): Promise<void>;
}
function start(command: readonly [string, ...string[]]): Started {
  const [program, ...args] = command;
  const child = spawn(program, args, { detached: true, stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const ref = { pid: child.pid ?? 0, startTicks: startTicks(child.pid ?? 0) };
  return {
    child,
    ref,
    end: () => {
      child.kill('SIGKILL');
      return ended;
    },
  };
}
const line = (child: ChildProcess): Promise<string> =>
  new Promise((resolve) => child.stdout?.once('data', (data) => resolve(String(data).trim())));

/** The next process gets this pid. Waits for the clock tick to pass, so that no two have pid and start time alike. */
async function nextPid(pid: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 25));
  fs.writeFileSync('/proc/sys/kernel/ns_last_pid', String(pid - 1));
}
const specOf = (leader: ProcessRef, group = true): PayloadSpec => ({
  id: `p${leader.pid}`,
  name: 'test',
  uid: process.getuid?.() ?? 0,
  registeredMs: 0,
  target: { kind: 'process', leader, group },
});
const effects = (payload: PayloadSpec, receivers: readonly StepReceiver[] = RECEIVERS) =>
  receivers.map((to) => ({
    type: 'signal' as const,
    payload,
    to,
    step: { episode: 1, index: 0, signal: 'SIGKILL' },
  }));
const tell = (story: string, found: object): void => console.log(JSON.stringify({ story, ...found }));

async function leaderReused(): Promise<void> {
  const payloads = open();
  const first = start(['sleep', '1000']);
  const spec = specOf(first.ref);
  payloads.look([spec]);
  await first.end();
  await nextPid(first.ref.pid);
  const stranger = start(['sleep', '1000']);
  killed.length = 0;
  const outcomes = payloads.deliver(effects(spec)).map(({ outcome }) => outcome);
  tell('leader', {
    same: stranger.ref.pid === first.ref.pid,
    outcomes,
    killed: [...killed],
    gone: payloads.look([spec]).gone.length,
  });
  await stranger.end();
}

/** A member's session number comes back as a stranger's, who leaves a child in it and ends. */
async function sessionReused(): Promise<void> {
  const payloads = open();
  const leader = start([
    'sh',
    '-c',
    'setsid sleep 1000 & echo $!; read go; kill -9 $!; wait $!; echo reaped; read end',
  ]);
  const member = Number(await line(leader.child));
  while (fs.readFileSync(`/proc/${member}/comm`, 'latin1').trim() !== 'sleep')
    await new Promise((resolve) => setTimeout(resolve, 1));
  const spec = specOf(leader.ref, false);
  // Farther on, so that the number can come again only all the way around.
  await nextPid(member + 200);
  await start(['true']).end();
  payloads.look([spec]);
  killed.length = 0;
  payloads.deliver(effects(spec, ['all']));
  const known = killed.includes(member);
  const reaped = line(leader.child);
  leader.child.stdin?.write('go\n');
  await reaped;
  await nextPid(member);
  const stranger = start(['sh', '-c', 'sleep 1000 & echo $!; read end']);
  const left = Number(await line(stranger.child));
  const same = stranger.ref.pid === member;
  stranger.child.stdin?.write('end\n');
  await new Promise((resolve) => stranger.child.once('exit', resolve));
  killed.length = 0;
  payloads.deliver(effects(spec, ['all']));
  tell('session', { same, known, stranger: left, killed: killed.filter((pid) => pid !== leader.ref.pid) });
  process.kill(left, 'SIGKILL');
  await leader.end();
}

/** Payloads and strangers come and go until every pid has been given many times. */
async function storm(): Promise<void> {
  fs.writeFileSync('/proc/sys/kernel/pid_max', String(SMALL_SPACE));
  const payloads = open();
  const past: PayloadSpec[] = [];
  const used = new Map<number, number>();
  let wrong = 0;
  let reached = 0;
  for (let round = 0; round < STORM_ROUNDS; round += 1) {
    const payload = start(['sh', '-c', 'sleep 1000 & (setsid sleep 1000 &) ; echo $!; wait']);
    await line(payload.child);
    const spec = specOf(payload.ref);
    past.push(spec);
    payloads.look(past);
    await payload.end();
    const strangers = Array.from({ length: 6 }, () => start(['sh', '-c', 'sleep 1000 & echo up; wait']));
    await Promise.all(strangers.map(({ child }) => line(child)));
    for (const { ref } of strangers) used.set(ref.pid, (used.get(ref.pid) ?? 0) + 1);
    const theirs = new Set(
      fs
        .readdirSync('/proc')
        .filter((name) => strangers.some(({ ref }) => sessionOf(name) === ref.pid))
        .map(Number),
    );
    killed.length = 0;
    payloads.deliver(past.flatMap((each) => effects(each)));
    wrong += killed.filter((pid) => theirs.has(pid)).length;
    reached += killed.length;
    for (const pid of [...theirs, ...killed]) endQuietly(pid);
    await Promise.all(strangers.map(({ end }) => end()));
  }
  tell('storm', { wrong, reached, reused: [...used.values()].filter((count) => count > 1).length });
}

function sessionOf(name: string): number {
  try {
    const text = fs.readFileSync(`/proc/${Number(name)}/stat`, 'latin1');
    return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[3]);
  } catch {
    return 0;
  }
}
function endQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // Ended by itself.
  }
}

const stories = { leader: leaderReused, session: sessionReused, storm } as const;
await stories[process.argv[2] as keyof typeof stories]();
process.exit(0);
