/**
 * Another story: a program as a step, a unit that is stopped through systemd, and a host that takes its word back, so that
 * the unit is started again (SEMANTICS S3.4, S3.6). systemd is a script that the agent alone sees, in a mount namespace.
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { makeCgroup, noCgroups, type TestCgroup } from '../../support/cgroups.ts';
import { type AgentProcess, type LogLine, type Places, placesIn, startAgent } from './agent-process.ts';
import { readJournal } from './journal-reading.ts';
import { announce, endAgent, layOutHost, until } from './stage.ts';
import type { Verdict } from './verdict.ts';
import type { Run } from './walk.ts';

const UNIT = 'walk.service';
/** Before systemctl anywhere else; programs that run as root are searched nowhere else either. */
const FIRST_PLACE = '/usr/local/sbin';
/** The story is over long before the deadline: however late a restart, no SIGKILL is due. */
const LEAD_MS = 20_000;
/** The lead, and the time that the agent takes to hear of it and, should it die of that, to come back. */
const AHEAD_MS = LEAD_MS + 1_200;
const POSTPONED_MS = 7_200_000;
/** Of a story that comes to no end, so many lines of the agent's log are told. */
const LAST_WORDS = 12;

const WITHIN = (fake: string): readonly string[] => [
  ...['unshare', '--mount', '--propagation', 'private', 'sh', '-c'],
  `mount --bind "$0" ${FIRST_PLACE} && mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec "$@"`,
  fake,
];

/** Why this story cannot be told here. */
export function whyNoUnits(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root, for a mount namespace';
  if (noCgroups !== false) return noCgroups;
  const [command = '', ...args] = [...WITHIN(FIRST_PLACE), 'true'];
  const { error, status } = spawnSync(command, args);
  return error !== undefined || status !== 0 ? 'needs unshare and mount namespaces' : undefined;
}

export interface PlayedCancelled {
  readonly crashed: boolean;
  /** Calls that the agent had made when the host announced; only where they are counted. */
  readonly callsBefore: number;
  readonly agents: readonly AgentProcess[];
  /** What systemd was told to do: `stop` or `start`, in order. */
  readonly orders: readonly string[];
  /** What programs were run: `step`, `stopping`, `cancelled`, in order. */
  readonly programs: readonly string[];
  /** Signals that reached the unit's process, and how it ended. */
  readonly heard: readonly string[];
}

/** Plays it to its end; rejects where it does not come to one. Leaves nothing behind. */
export async function playCancelled(run: Run): Promise<PlayedCancelled> {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-cancel-'));
  const endings: (() => void | Promise<void>)[] = [];
  const agents: AgentProcess[] = [];
  try {
    return await play(run, dir, { after: (fn) => void endings.push(fn) }, agents);
  } catch (error) {
    const words = (agents.at(-1)?.log ?? []).slice(-LAST_WORDS).map(({ msg }) => msg);
    const told = ['begun', 'orders', 'programs'].map((name) => `${name}: ${readLines(path.join(dir, name)).join()}`);
    const text = error instanceof Error ? error.message : String(error);
    throw new Error(`${text}; ${told.join('; ')}; the agent: ${words.join(' | ')}`);
  } finally {
    for (const end of endings.reverse()) await end();
    fs.rmSync(dir, { recursive: true, force: true });
  }
}

let count = 0;

async function play(
  { program, zoo, shim }: Run,
  dir: string,
  t: { after(fn: () => void | Promise<void>): void },
  agents: AgentProcess[],
): Promise<PlayedCancelled> {
  count += 1;
  const places = placesIn(dir);
  layOutHost(places);
  const group = makeCgroup(t);
  const [unit, other] = [group.below('unit'), group.below('other')];
  const names = [`unit-${count}`, `other-${count}`] as const;
  t.after(() => zoo.kill(names));
  const born = await zoo.start([
    { name: names[0], manner: 'obeys' },
    { name: names[1], manner: 'ignores' },
  ]);
  for (const [index, cgroup] of [unit, other].entries())
    for (const pid of born.get(names[index] ?? '')?.values() ?? []) cgroup.take(pid);
  const config = layOutPrograms(dir, unit, other);

  let crashed = false;
  const launch = (withShim: boolean): void => {
    const within = WITHIN(path.join(dir, 'bin'));
    const agent = startAgent({ program, places, listen: 'off', config, within, ...(withShim && { shim }) });
    agents.push(agent);
    t.after(async () => {
      agent.kill('SIGKILL');
      await agent.ended;
    });
    void agent.ended.then(({ signal }) => {
      if (!withShim || signal !== 'SIGKILL' || over) return;
      crashed = true;
      launch(false);
    });
  };
  let over = false;
  t.after(() => {
    over = true;
  });
  const linesOf = (name: string): readonly string[] => readLines(path.join(dir, name));
  const is = (what: string, holds: () => boolean) =>
    until(
      () => what,
      async () => (holds() ? true : null),
    );
  launch(true);
  await is('both to be found', () => living(places) === 2);
  const callsBefore = 'countInto' in shim ? readLines(shim.countInto).length : 0;
  const deadlineMs = Math.ceil((Date.now() + AHEAD_MS) / 1000) * 1000;
  announce(places, deadlineMs / 1000);
  // Where the agent died of its order, systemctl outlives it; what is still on its way then is no matter of this story.
  const settled = () => linesOf('begun').length === linesOf('orders').length && knowsStop(places);
  await is('the stop', () => linesOf('orders').includes('stop') && linesOf('programs').includes('step') && settled());
  announce(places, (deadlineMs + POSTPONED_MS) / 1000);
  await is('the start', () => linesOf('orders').includes('start') && linesOf('programs').includes('cancelled'));
  do {
    await is('both to live again', () => living(places) === 2 && read(path.join(dir, 'active')) === 'active');
  } while (!(await endAgent(places, () => agents.at(-1) as AgentProcess)));
  over = true;
  return {
    crashed,
    callsBefore,
    agents,
    orders: linesOf('orders'),
    programs: linesOf('programs'),
    heard: zoo.recordsOf(names[0]).map(({ what }) => what),
  };
}

/** Whether the promises were kept. Times are the other story's. */
export function judgeCancelled({ agents, orders, programs, heard }: PlayedCancelled): Verdict {
  const log = agents.flatMap((agent) => agent.log);
  const counted = (event: string, holds: (line: LogLine) => boolean = () => true): number =>
    log.filter((line) => line.event === event && holds(line)).length;
  const faults = agents.flatMap((agent) => (agent.stderr() === '' ? [] : [`stderr: ${agent.stderr()}`]));
  for (const { level, event, msg } of log)
    if (level === 'error' || level === 'fatal' || event === 'journal_damaged') faults.push(`log: ${event}: ${msg}`);
  const sum = { uncertain: 0, lost: 0, doubled: 0 };
  const judge = (what: string, times: number, uncertain: number): void => {
    sum.uncertain += uncertain;
    if (times === 0) sum.lost += 1;
    if (times > 1 + uncertain) sum.doubled += 1;
    if (times === 0 || times > 1 + uncertain) faults.push(`${what} ${times} times, ${uncertain} counted as uncertain`);
  };
  const times = (list: readonly string[], word: string): number => list.filter((each) => each === word).length;
  const again = (signal: string): number => counted('step_uncertain', (line) => line['signal'] === signal);
  judge('stop', times(orders, 'stop'), again('SIGTERM'));
  judge('start', times(orders, 'start'), counted('start_uncertain'));
  judge('program of the step', times(programs, 'step'), again('hook:note'));
  for (const event of ['stopping', 'cancelled'])
    judge(
      `program ${event}`,
      times(programs, event),
      counted('hook_uncertain', (line) => line['on'] === event),
    );
  if (orders[0] !== 'stop' || orders.at(-1) !== 'start') faults.push(`systemd was told: ${orders.join()}`);
  if (heard.join() !== 'SIGTERM,exit:0')
    faults.push(
      `the unit's process got ${heard.join()}; systemd was told ${orders.join()}; programs ${programs.join()}`,
    );
  return { ...sum, skipped: counted('step_skipped'), worstDelayMs: 0, faults };
}

/** The configuration, the programs and the script that stands for systemd. */
function layOutPrograms(dir: string, unit: TestCgroup, other: TestCgroup): string {
  const program = (name: string, script: string): void => {
    fs.mkdirSync(path.dirname(path.join(dir, name)), { recursive: true });
    fs.writeFileSync(path.join(dir, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  };
  program('hooks.d/steps/note', `echo step >>${dir}/programs`);
  for (const event of ['stopping', 'cancelled']) program(`hooks.d/${event}/note`, `echo ${event} >>${dir}/programs`);
  program('bin/systemctl', systemctl(dir, unit));
  fs.writeFileSync(path.join(dir, 'active'), 'active');
  const file = path.join(dir, 'config.toml');
  const lead = `${LEAD_MS}ms`;
  fs.writeFileSync(
    file,
    `[stop]
drain = "${lead}"
grace = "${lead}"
[hooks]
dir = "${dir}/hooks.d"
[[payload]]
name = "service"
unit = "${UNIT}"
steps = [ { at = "${lead}", signal = "SIGTERM" }, { at = "10ms", signal = "SIGKILL" } ]
[[payload]]
name = "other"
cgroup = "${other.path}"
steps = [ { at = "${lead}", hook = "note" }, { at = "20ms", signal = "SIGTERM" }, { at = "10ms", signal = "SIGKILL" } ]
`,
  );
  return file;
}

/** As much of systemctl(1) as the agent asks for: one unit, whose processes get their SIGTERM and are gone. */
function systemctl(dir: string, { path: cgroup, directory }: TestCgroup): string {
  return `
for word; do case $word in show|stop|start|list-jobs) verb=$word; break; esac; done
case $verb in
  show)
    for word; do case $word in
      ${UNIT}) printf 'Id=${UNIT}\\nNames=${UNIT}\\nLoadState=loaded\\nActiveState=%s\\nResult=success\\nControlGroup=%s\\nSlice=system.slice\\nTimeoutStopUSec=5s\\nCanStop=yes\\nCanStart=yes\\nTransient=no\\n\\n' "$(cat ${dir}/active)" '${cgroup}' ;;
      -.slice) printf 'Id=-.slice\\nNames=-.slice\\nLoadState=loaded\\nActiveState=active\\nCanStop=no\\nControlGroup=/\\n\\n' ;;
    esac; done ;;
  stop)
    echo stop >>${dir}/begun
    printf inactive >${dir}/active
    for pid in $(cat ${directory}/cgroup.procs); do kill -TERM $pid; done
    # The host takes its word back on this: a start must not be overtaken by the end of the stop.
    echo stop >>${dir}/orders ;;
  start)
    echo start >>${dir}/begun
    (echo 0 >${directory}/cgroup.procs && exec sleep 1000) >/dev/null 2>&1 &
    printf active >${dir}/active
    echo start >>${dir}/orders ;;
esac`;
}

/** The unit's SIGTERM is the only one that can be due. */
const knowsStop = ({ journal }: Places): boolean =>
  [...readJournal(journal).steps].some(([key, state]) => key.endsWith(' SIGTERM') && state === 'done');

/** By the document that everybody may read. A unit that we stopped does not live; who had a signal from us does. */
function living({ runtime }: Places): number | null {
  const text = read(path.join(runtime, 'lifetime.json'));
  if (text === '') return null;
  const { payloads } = JSON.parse(text) as { readonly payloads: Readonly<Record<'running' | 'stopping', number>> };
  return payloads.running + payloads.stopping;
}

const readLines = (file: string): readonly string[] => read(file).split('\n').slice(0, -1);

function read(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
