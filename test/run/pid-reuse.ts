/**
 * The inside of pid-reuse.slow.test.ts: runs in a pid namespace with so few pids that each is given away again within a
 * second. Strangers take the pids of payloads that the agent believes to be alive: while it is dead, when its SIGTERMs are
 * due, and while it is stopped, when its SIGKILLs are. Prints what came of it; throws where a promise is broken.
 */
import assert from 'node:assert/strict';
import path from 'node:path';
import { inSecs, startAgent } from '../support/agent.ts';
import { isAlive } from '../support/processes.ts';
import { type Animal, isEnd, startZoo, type ZooRecord } from '../support/zoo.ts';

/** Of each kind. */
const COPIES = 12;
const GRACE_SECS = 8;
const KILL_SECS = 1;
const CONFIG = `[stop]
grace = "${GRACE_SECS}s"
steps = [ { at = "grace", signal = "SIGTERM" }, { at = "${KILL_SECS}s", signal = "SIGKILL" } ]
`;
/** The agent dies so long before its SIGTERMs are due. */
const JUST_BEFORE_MS = 200;
/** Strangers are waited for at most so long; a round through all pids takes a second. */
const WAIT_MS = 20_000;

interface Kind {
  readonly manner: 'obeys' | 'ignores' | 'leaves';
  readonly group: boolean;
}
const KINDS: readonly Kind[] = [
  { manner: 'obeys', group: false },
  { manner: 'obeys', group: true },
  { manner: 'ignores', group: false },
  { manner: 'ignores', group: true },
  { manner: 'leaves', group: true },
];

/** When a leader's pid becomes a stranger's, and what the leader has got by then. */
const HISTORIES = {
  'before SIGTERM': 'exit:0',
  'by SIGTERM': 'SIGTERM,exit:0',
  'before SIGKILL': 'SIGTERM,exit:0',
  'by SIGKILL': 'SIGTERM,died:SIGKILL',
  // The group bears its number on, and is the payload as long as somebody is left in it.
  'after its group': 'SIGTERM,exit:0',
} as const;
type Fate = keyof typeof HISTORIES;
function fateOf(manner: Kind['manner'], n: number): Fate {
  if (manner === 'leaves') return 'after its group';
  if (n % 3 === 0) return 'before SIGTERM';
  if (manner === 'obeys') return 'by SIGTERM';
  return n % 3 === 1 ? 'before SIGKILL' : 'by SIGKILL';
}

async function play(t: { after(fn: () => void | Promise<void>): void }): Promise<object> {
  const agent = await startAgent(t, { config: CONFIG, machine: { total_cpu: 8 } });
  const zoo = await startZoo(t, path.join(agent.dir, 'records'));
  const payloads = KINDS.flatMap(({ manner, group }, kind) =>
    Array.from({ length: COPIES }, (_, n) => ({ name: `k${kind}-${n}`, manner, group, fate: fateOf(manner, n) })),
  );
  const born = await zoo.start(payloads.map(({ name, manner }): Animal => ({ name, manner })));
  const pidOf = (name: string): number => born.get(name)?.get('leader') ?? 0;
  const having = (fate: Fate) => payloads.flatMap((each) => (each.fate === fate ? [pidOf(each.name)] : []));
  for (const { name, group } of payloads) {
    const body = { name, target: { pid: pidOf(name), group } };
    const { status } = await agent.request('/v1/payloads', { method: 'POST', body, socket: 'admin.sock' });
    assert.equal(status, 201);
  }
  const strangers = () => zoo.records().filter(({ name, what }) => name === 'stranger' && what === 'born');
  const replaced = (pids: readonly number[]): Promise<void> =>
    until('the pids to be given away again', () => {
      const taken = new Set(strangers().map(({ pid }) => pid));
      return pids.every((pid) => taken.has(pid));
    });
  // Each of these is a stranger's within a second from when it is free.
  await zoo.want(payloads.map(({ name }) => pidOf(name)));
  const deadline = inSecs(GRACE_SECS + 3);
  agent.hostDirs.set('machine', 'shutdowntime', deadline);
  await agent.until('announced', (lifetime) => lifetime.deadline === deadline);

  await at((deadline - GRACE_SECS) * 1000 - JUST_BEFORE_MS);
  await agent.kill9();
  await zoo.end(having('before SIGTERM'));
  await replaced(having('before SIGTERM'));
  await at((deadline - GRACE_SECS) * 1000);
  const restarted = agent.restart();

  const told = payloads.filter(({ fate }) => fate !== 'before SIGTERM').map(({ name }) => name);
  await until('SIGTERM', () => told.every((name) => zoo.recordsOf(name).some(({ what }) => what === 'SIGTERM')));
  // Now it cannot see who ends.
  agent.signal('SIGSTOP');
  await zoo.end(having('before SIGKILL'));
  const over = [...having('by SIGTERM'), ...having('before SIGKILL')];
  await replaced(over);
  await at((deadline - KILL_SECS) * 1000);
  agent.signal('SIGCONT');
  await restarted;
  await agent.until('all are gone', ({ payloads: count }) => count.running + count.stopping === 0);
  for (const { name, manner } of payloads)
    await zoo.untilEnded(name, manner === 'leaves' ? ['leader', 'mate1'] : ['leader'], WAIT_MS);

  const records = zoo.records();
  const signalled = records.filter(({ name, what }) => name === 'stranger' && what !== 'born');
  assert.deepEqual(signalled, [], 'no stranger gets a signal');
  for (const { name, manner, fate } of payloads) {
    assert.equal(historyOf(records, name, 'leader'), HISTORIES[fate], `${name} ${manner}`);
    if (manner === 'leaves') assert.equal(historyOf(records, name, 'mate1'), 'SIGTERM,died:SIGKILL', name);
  }
  const reused = strangers();
  assert.ok(reused.length >= having('before SIGTERM').length + over.length);
  const ended = reused.filter(({ pid }) => !isAlive(pid));
  assert.deepEqual(ended, []);
  const errors = agent.lines.filter(({ level }) => level === 'error');
  assert.deepEqual(errors, []);
  return { payloads: payloads.length, reused: reused.length };
}

const historyOf = (records: readonly ZooRecord[], name: string, member: string): string =>
  records
    .filter((each) => each.name === name && each.member === member && (isEnd(each) || each.what.startsWith('SIG')))
    .map(({ what }) => what)
    .join();

async function until(what: string, holds: () => boolean): Promise<void> {
  const giveUpAt = Date.now() + WAIT_MS;
  while (!holds()) {
    if (Date.now() > giveUpAt) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const at = (wallMs: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, Math.max(0, wallMs - Date.now())));

const endings: (() => void | Promise<void>)[] = [];
try {
  console.log(JSON.stringify(await play({ after: (fn) => void endings.push(fn) })));
} finally {
  for (const end of endings.reverse()) await end();
}
