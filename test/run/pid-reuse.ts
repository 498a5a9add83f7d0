/**
 * The inside of pid-reuse.slow.test.ts: runs in a pid namespace with so few pids that each is given away again within a
 * second. Strangers take the pids of payloads that have ended, while the agent still has them in its books: between two looks
 * of its, while it is dead, and between SIGTERM and SIGKILL. Prints what came of it; throws where a promise is broken.
 */
import assert from 'node:assert/strict';
import path from 'node:path';
import { inSecs, startAgent } from '../support/agent.ts';
import { isAlive } from '../support/processes.ts';
import { type Animal, isEnd, startZoo, type ZooRecord } from '../support/zoo.ts';

/** Of each kind; a third of each ends before there is any signal. */
const COPIES = 12;
const GRACE_SECS = 4;
const CONFIG = `[stop]\ngrace = "${GRACE_SECS}s"\nsteps = [ { at = "grace", signal = "SIGTERM" }, { at = "1s", signal = "SIGKILL" } ]\n`;
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
  { manner: 'leaves', group: true },
];

async function play(t: { after(fn: () => void | Promise<void>): void }): Promise<object> {
  const agent = await startAgent(t, { config: CONFIG, machine: { total_cpu: 8 } });
  const zoo = await startZoo(t, path.join(agent.dir, 'records'));
  const payloads = KINDS.flatMap(({ manner, group }, kind) =>
    Array.from({ length: COPIES }, (_, n) => ({
      name: `k${kind}-${n}`,
      manner,
      group,
      fate: (['dead agent', 'last moment', 'stopped'] as const)[n % 3] ?? 'stopped',
    })),
  );
  const born = await zoo.start(payloads.map(({ name, manner }): Animal => ({ name, manner })));
  const pidOf = (name: string): number => born.get(name)?.get('leader') ?? 0;
  for (const { name, group } of payloads) {
    const body = { name, target: { pid: pidOf(name), group } };
    const { status } = await agent.request('/v1/payloads', { method: 'POST', body, socket: 'admin.sock' });
    assert.equal(status, 201);
  }
  const strangers = () => zoo.records().filter(({ name, what }) => name === 'stranger' && what === 'born');
  // A group is the payload as long as somebody is left in it.
  const ending = (fate: string) => payloads.filter((each) => each.fate === fate && each.manner !== 'leaves');
  const replaced = async (pids: readonly number[]): Promise<void> => {
    await until(() => pids.every((pid) => strangers().some((stranger) => stranger.pid === pid)));
  };
  const leaders = payloads.map(({ name }) => pidOf(name));

  // Each pid that becomes free from now on is a stranger's within a second.
  await zoo.want(leaders);
  const whileDead = ending('dead agent').map(({ name }) => pidOf(name));
  await agent.kill9();
  await zoo.end(whileDead);
  await replaced(whileDead);
  await agent.restart();

  const deadline = inSecs(GRACE_SECS + 2);
  agent.hostDirs.set('machine', 'shutdowntime', deadline);
  await agent.until('announced', (lifetime) => lifetime.deadline === deadline);
  const atLast = ending('last moment').map(({ name }) => pidOf(name));
  await zoo.end(atLast);
  await agent.until('all are gone', ({ payloads: count }) => count.running + count.stopping === 0);
  const stayed = payloads.filter(({ manner }) => manner === 'leaves');
  for (const { name } of stayed) await zoo.untilEnded(name, ['leader', 'mate1'], WAIT_MS);

  const records = zoo.records();
  const signalled = records.filter(({ name, what }) => name === 'stranger' && what !== 'born');
  assert.deepEqual(signalled, [], 'no stranger gets a signal');
  for (const { name, manner, fate } of payloads) {
    const early = fate !== 'stopped' && manner !== 'leaves';
    const got = (member: string) => historyOf(records, name, member);
    const wanted = early
      ? /^(?:SIGTERM,)?exit:0$/
      : manner === 'ignores'
        ? /^SIGTERM,died:SIGKILL$/
        : /^SIGTERM,exit:0$/;
    assert.match(got('leader'), wanted, `${name} ${manner}`);
    if (manner === 'leaves') assert.equal(got('mate1'), 'SIGTERM,died:SIGKILL', name);
  }
  const reused = strangers();
  assert.ok(reused.length >= whileDead.length + atLast.length / 2, `only ${reused.length} pids were reused`);
  assert.deepEqual(
    reused.filter(({ pid }) => !isAlive(pid)),
    [],
  );
  assert.deepEqual(
    agent.lines.filter(({ level }) => level === 'error'),
    [],
  );
  return { payloads: payloads.length, reused: reused.length, whileDead: whileDead.length, atLast: atLast.length };
}

const historyOf = (records: readonly ZooRecord[], name: string, member: string): string =>
  records
    .filter((each) => each.name === name && each.member === member && (isEnd(each) || each.what.startsWith('SIG')))
    .map(({ what }) => what)
    .join();

async function until(holds: () => boolean): Promise<void> {
  const giveUpAt = Date.now() + WAIT_MS;
  while (!holds()) {
    if (Date.now() > giveUpAt) throw new Error('the pids were not given away again');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const endings: (() => void | Promise<void>)[] = [];
try {
  console.log(JSON.stringify(await play({ after: (fn) => void endings.push(fn) })));
} finally {
  for (const end of endings.reverse()) await end();
}
