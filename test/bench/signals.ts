/**
 * How long it takes from the instant at which a step is due to its last delivery (issue "Stopping payloads"), for 1, 100 and
 * 1,000 payloads: `npm run bench:signals`. Through the real daemon, that is with each intent journalled and each identity
 * checked, beside a bare loop of process.kill over the same processes in the same run, interleaved. Delivered is what the
 * process's own handler has seen.
 *
 *   MJF_BENCH_ROUNDS     rounds that count (9)
 *   MJF_BENCH_PAYLOADS   other numbers (1,100,1000; at most 1,000)
 *   MJF_BENCH_CPU_PROF   a directory for --cpu-prof of the daemon
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { startAgent, type TestAgent } from '../support/agent.ts';
import { startZoo, whyNoZoo, type Zoo } from '../support/zoo.ts';

const ROUNDS = Number(process.env['MJF_BENCH_ROUNDS'] ?? 9);
const WARM_UP = 2;
const COUNTS = (process.env['MJF_BENCH_PAYLOADS'] ?? '1,100,1000').split(',').map(Number);
/** From the announcement to the due instant: everything about it has been published by then. */
const AHEAD_MS = 2_500;
const GRACE_MS = 1_000;
/** Far more than 1,000 handlers need. */
const LATEST_MS = 30_000;
const PROFILE = process.env['MJF_BENCH_CPU_PROF'];

/** Node takes these options from nowhere but its command line. */
const PROFILED = ['sh', '-c', 'dir=$0 node=$1; shift; exec "$node" --cpu-prof --cpu-prof-dir="$dir" "$@"'];

/** The least that anybody could do: no identity, no journal. Arguments: due instant, UNIX ms, then pids. */
const BARE = `
const [due, ...pids] = process.argv.slice(1).map(Number);
console.log('ready');
setTimeout(() => { for (const pid of pids) process.kill(pid, 'SIGTERM'); }, due - performance.timeOrigin - performance.now());
`;

interface Scene {
  readonly zoo: Zoo;
  readonly pids: readonly number[];
  readonly agent: TestAgent;
}

const wallMs = (): number => performance.timeOrigin + performance.now();

/** When the last of them heard its SIGTERM, after `dueMs`. Each hears it once a round. */
async function heardAfter({ zoo, pids }: Scene, begin: number, dueMs: number): Promise<number> {
  const giveUpAt = Date.now() + LATEST_MS;
  for (;;) {
    const heard = zoo.records().slice(begin);
    if (heard.length >= pids.length) return Math.max(...heard.map(({ atMs }) => atMs)) - dueMs;
    if (Date.now() > giveUpAt) throw new Error(`${heard.length} of ${pids.length} heard their signal`);
    // Not a busy look: the processes under test want the processors.
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function bareRound(scene: Scene): Promise<number> {
  const begin = scene.zoo.records().length;
  const dueMs = Math.round(wallMs() + AHEAD_MS - GRACE_MS);
  const child = spawn(process.execPath, ['-e', BARE, String(dueMs), ...scene.pids.map(String)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  await once(createInterface({ input: child.stdout }), 'line');
  const took = await heardAfter(scene, begin, dueMs);
  await ended;
  return took;
}

/** Each notice of the operator is another one, so each round is another episode. */
async function agentRound(scene: Scene): Promise<number> {
  const { agent, zoo } = scene;
  const begin = zoo.records().length;
  const deadlineMs = Math.round(wallMs() + AHEAD_MS);
  const body = { kind: 'shutdown', at: deadlineMs / 1000 };
  await expect(201, agent.request('/v1/notices', { socket: 'admin.sock', method: 'POST', body }));
  const took = await heardAfter(scene, begin, deadlineMs - GRACE_MS);
  await expect(204, agent.request('/v1/notices', { socket: 'admin.sock', method: 'DELETE' }));
  await agent.until('taken back', ({ deadline }) => deadline === null);
  return took;
}

async function expect(status: number, answer: ReturnType<TestAgent['request']>): Promise<void> {
  const got = await answer;
  if (got.status !== status) throw new Error(`${got.status}: ${got.body}`);
}

async function measure(
  count: number,
): Promise<{ readonly bare: readonly number[]; readonly agent: readonly number[] }> {
  const endings: (() => void | Promise<void>)[] = [];
  const t = { after: (fn: () => void | Promise<void>) => void endings.push(fn) };
  try {
    const agent = await startAgent(t, {
      config: `[stop]\ngrace = "${GRACE_MS}ms"\nsteps = [ { at = "grace", signal = "SIGTERM" } ]\n`,
      ...(PROFILE !== undefined && { within: [...PROFILED, PROFILE] }),
    });
    const zoo = await startZoo(t, path.join(agent.dir, 'records'));
    const names = Array.from({ length: count }, (_, n) => `p${n}`);
    const born = await zoo.start(names.map((name) => ({ name, manner: 'ignores' })));
    const pids = names.map((name) => born.get(name)?.get('leader') ?? 0);
    for (const [n, pid] of pids.entries()) {
      const body = { name: `p${n}`, target: { pid } };
      await expect(201, agent.request('/v1/payloads', { socket: 'admin.sock', method: 'POST', body }));
    }
    const scene = { zoo, pids, agent };
    const results = { bare: [] as number[], agent: [] as number[] };
    for (let round = -WARM_UP; round < ROUNDS; round += 1) {
      const bare = await bareRound(scene);
      const ours = await agentRound(scene);
      if (round < 0) continue;
      results.bare.push(bare);
      results.agent.push(ours);
    }
    await agent.stop();
    return results;
  } finally {
    for (const end of endings.reverse()) await end();
  }
}

function quantile(list: readonly number[], q: number): number {
  const sorted = [...list].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}

const reason = whyNoZoo() ?? (process.getuid?.() === 0 ? undefined : 'registering goes through admin.sock: root');
if (reason !== undefined) {
  console.error(`cannot measure: ${reason}`);
  process.exit(1);
}
// As /run is: the agent publishes and journals on tmpfs.
if (fs.existsSync('/dev/shm')) process.env['TMPDIR'] = '/dev/shm';
console.log(
  `due instant → last payload's SIGTERM handler, ms, ${ROUNDS} rounds, Node ${process.version}, ${os.cpus()[0]?.model ?? 'unknown'} × ${os.availableParallelism()}`,
);
const HEADS = ['median', 'p95', 'max', 'median', 'p95', 'max', 'a payload'];
console.log(`${'payloads'.padEnd(10)}${'bare loop'.padStart(27)}${'agent'.padStart(27)}${'more'.padStart(21)}`);
console.log(`${''.padEnd(10)}${HEADS.map((head) => head.padStart(head === 'a payload' ? 12 : 9)).join('')}`);
for (const count of COUNTS) {
  const { bare, agent } = await measure(count);
  const more = (quantile(agent, 0.5) - quantile(bare, 0.5)) / count;
  const shown = [bare, agent].flatMap((list) => [quantile(list, 0.5), quantile(list, 0.95), Math.max(...list)]);
  console.log(
    `${String(count).padEnd(10)}${shown.map((ms) => ms.toFixed(2).padStart(9)).join('')}${more.toFixed(3).padStart(9)} ms`,
  );
}
