/** `mjf-agent exec`: one payload, stopped in time, with or without a daemon (SEMANTICS S3.8). */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:os';
import path from 'node:path';
import { readBaseUrl, request } from '../client.ts';
import { systemClock } from '../clock.ts';
import { describeProblem, loadConfig, policyOf } from '../config.ts';
import { followDaemon, noticeOf } from '../exec/daemon-link.ts';
import { hostPlaces, type Places, payloadEnvironment } from '../exec/environment.ts';
import { ownSources } from '../exec/fallback.ts';
import { parseDuration, parseStep } from '../exec/options.ts';
import { DAEMON_SOURCE, supervise } from '../exec/supervise.ts';
import { EXIT } from '../exit-codes.ts';
import type { Observation } from '../lifetime/types.ts';
import { createSink } from '../log/sink.ts';
import { createLog } from '../log.ts';
import { readProcess } from '../payloads/process.ts';
import { spawnClean } from '../spawn-clean.ts';
import {
  type CommandContext,
  defineCommand,
  type OptionSpecs,
  RUNTIME_DIR_OPTION,
  runtimeDirOf,
  UsageError,
} from './command.ts';
import { featurePlaces } from './feature-places.ts';

/** Shared with the payload, and perhaps a pipe that nobody reads: written without ever waiting. */
const STDERR_FD = 2;
/** Whether the daemon lives is asked before the payload starts; it answers from the same machine. */
const FIRST_ANSWER_MS = 2_000;
/** Shells' own numbers for a command that is not there, or not to be executed. */
const NOT_FOUND = 127;
const NOT_EXECUTABLE = 126;
/** What a batch system, a terminal or an operator may send us for the payload. */
const FORWARDED = [
  'SIGINT',
  'SIGTERM',
  'SIGHUP',
  'SIGQUIT',
  'SIGUSR1',
  'SIGUSR2',
  'SIGCONT',
  'SIGWINCH',
  'SIGXCPU',
  'SIGALRM',
] as const;

const OPTIONS = {
  name: {
    type: 'string',
    value: 'NAME',
    description: 'what it is called in status, logs and metrics (default: the command)',
  },
  features: {
    type: 'string',
    value: 'path|url',
    description: 'give the payload directories or URLs in MACHINEFEATURES and JOBFEATURES (default path)',
  },
  grace: {
    type: 'string',
    value: 'D',
    description: "how long before the deadline stopping begins, e.g. 90s (default: the daemon's)",
  },
  step: {
    type: 'string',
    multiple: true,
    value: 'AT:SIGNAL[:TO]',
    description: 'one step of stopping, e.g. grace:SIGTERM or 5s:SIGKILL:all; may be given more than once',
  },
  config: { type: 'string', value: 'FILE', description: 'configuration for when there is no daemon' },
  ...RUNTIME_DIR_OPTION,
} as const satisfies OptionSpecs;

export const command = defineCommand({
  name: 'exec',
  summary: 'run one payload under the care of the agent',
  usage: 'exec [OPTIONS] -- COMMAND [ARGUMENT…]',
  options: OPTIONS,
  positionals: { least: 0, most: 64 },
  takesRest: true,
  details: `The command runs in a session and process group of its own; signals that exec gets go to the whole group. By default the
group gets SIGTERM at the deadline less the grace, and SIGKILL 5 s before the deadline.

Exit code: 75 when the deadline stopped the payload, whatever it returned (a batch system should requeue it); else the
payload's own, 128 + n for a signal; 127 or 126 when it could not be started.

Without a daemon exec reads the host's channels itself; should the daemon die, it goes on with the last plan that it had.

The payload has no controlling terminal. A hang-up (SIGHUP) is passed on like any other signal, and Node forgets that it was
to be ignored: to outlive a logout write "mjf-agent exec -- nohup COMMAND".`,
  async run(context) {
    const [name, ...args] = context.rest ?? context.positionals;
    if (name === undefined) throw new UsageError('what is to be run? usage: mjf-agent exec [OPTIONS] -- COMMAND…');
    return runPayload(context, name, args);
  },
});

type ExecContext = CommandContext<typeof OPTIONS>;

async function runPayload(context: ExecContext, name: string, args: readonly string[]): Promise<number> {
  const { values } = context;
  const runtimeDir = runtimeDirOf(context);
  if (values.features !== undefined && values.features !== 'path' && values.features !== 'url')
    throw new UsageError('--features takes path or url');
  const graceMs = values.grace === undefined ? undefined : parseDuration('--grace', values.grace);
  const steps = values.step?.map(parseStep);
  const loaded = await loadConfig({
    env: context.env,
    flags: {},
    ...(values.config !== undefined && { file: values.config }),
  });
  if (!loaded.ok) {
    for (const problem of loaded.problems) context.complain(describeProblem(problem));
    return EXIT.configuration;
  }
  const first = await request({
    channel: 'agent',
    runtimeDir,
    method: 'GET',
    path: '/v1/lifetime',
    timeoutMs: FIRST_ANSWER_MS,
  });
  const alive = !('unreachable' in first) && first.status === 200;
  if (alive && overdue(first.body)) {
    return refuse(context);
  }

  const label = values.name ?? path.basename(name);
  const sink = createSink({ fd: STDERR_FD, onDrop: () => {} });
  const { log } = createLog({ level: 'warn', tty: true, stream: sink });
  const host = hostPlaces(loaded.config, context.env, featurePlaces(runtimeDir));
  let observe: (observation: Observation) => void = () => {};
  let onSources = (): void => {};
  const fallback = ownSources({
    config: loaded.config,
    env: context.env,
    places: host,
    log,
    clock: systemClock,
    emit: (observation) => observe(observation),
    onSources: () => onSources(),
  });
  const early: Observation[] = [];
  if (!alive) {
    observe = (observation) => early.push(observation);
    await fallback.firstAnswers();
    if (fallback.overdue(early)) {
      fallback.stop();
      return refuse(context);
    }
  }
  const marker = randomBytes(8).toString('hex');
  const places = await findPlaces(context, runtimeDir, alive ? null : host, values.features ?? 'path');
  const env = payloadEnvironment(context.env, places, marker);
  const spawned = spawnClean(name, args, { env, stdio: 'inherit', detached: true });
  if ('error' in spawned) {
    fallback.stop();
    context.complain(
      spawned.error === 'not_found' ? `${name}: command not found` : `${name}: cannot be executed (${spawned.error})`,
    );
    return spawned.error === 'not_found' ? NOT_FOUND : NOT_EXECUTABLE;
  }
  const { child } = spawned;
  const failed = new Promise<Error>((resolve) => child.once('error', resolve));
  const me = readProcess(process.pid);
  const info = child.pid === undefined ? null : readProcess(child.pid);
  if (child.pid === undefined || info === null) {
    context.complain(`${name}: cannot be started (${(await failed).message})`);
    return NOT_EXECUTABLE;
  }

  /** What counts where the payload states nothing itself: the configuration's until the daemon has spoken, then its last word. */
  let policy = policyOf(loaded.config);
  const supervision = supervise({
    child,
    leader: { pid: child.pid, startTicks: info.startTicks },
    marker,
    name: label,
    uid: process.getuid?.() ?? 0,
    graceMs,
    steps,
    policy,
    clock: systemClock,
    log,
    onStep: (report) => daemon.acknowledge(report),
    onJump: () => fallback.pollAll(),
  });
  const daemon = followDaemon({
    runtimeDir,
    log,
    registration: {
      name: label,
      target: { pid: child.pid, group: true },
      deliverer_pid: me?.pid ?? process.pid,
      ...(graceMs !== undefined && { grace_secs: graceMs / 1000 }),
      ...(steps !== undefined && {
        steps: steps.map((step) => ({ ...step, at: step.at === 'grace' ? 'grace' : `${step.at}ms` })),
      }),
    },
    onPlan(plan) {
      policy = {
        ...policy,
        ...(plan.graceMs !== null && { graceMs: plan.graceMs }),
        ...(plan.steps !== null && { steps: plan.steps }),
      };
      onSources();
      const reading =
        plan.deadlineMs === null ? ({ is: 'negative' } as const) : ({ is: 'present', value: noticeOf(plan) } as const);
      supervision.observe({
        source: DAEMON_SOURCE.name,
        outcome: 'answer',
        answer: { notices: { complete: false, byId: { machine: reading } } },
      });
    },
    onState(state) {
      if (state === 'found') fallback.stop();
      else {
        if (alive)
          log.warn(
            { event: 'daemon_lost' },
            "the daemon is gone: its last plan stands, and those of the host's channels that can be found from here are read directly",
          );
        fallback.start();
      }
      supervision.configure(policy, [DAEMON_SOURCE, ...fallback.infos()]);
    },
  });
  onSources = () => supervision.configure(policy, [DAEMON_SOURCE, ...fallback.infos()]);
  onSources();
  for (const observation of early) supervision.observe(observation);
  observe = supervision.observe;
  forwardSignals(child.pid);

  const end = await supervision.ended;
  fallback.stop();
  await daemon.close();
  sink.flush();
  if (end.stopped) return EXIT.deadline;
  return end.signal === null ? (end.code ?? EXIT.failure) : 128 + constants.signals[end.signal];
}

/** S3.7: after the deadline nothing new is started. */
function refuse(context: ExecContext): number {
  context.complain('the deadline of this machine has passed: nothing new is started (75, requeue it)');
  return EXIT.deadline;
}

function overdue(body: Buffer): boolean {
  try {
    return (JSON.parse(body.toString()) as { overdue?: unknown }).overdue === true;
  } catch {
    return false;
  }
}

/** Where the daemon publishes; without one (`host` given) where the host does. */
async function findPlaces(
  context: ExecContext,
  runtimeDir: string,
  host: Places | null,
  features: 'path' | 'url',
): Promise<Places> {
  if (host !== null) {
    if (features === 'url' && !/^https?:/.test(host.machinefeatures ?? host.jobfeatures ?? ''))
      context.complain('without a daemon there are no URLs: the payload gets what the host offers');
    return host;
  }
  const url = await readBaseUrl(runtimeDir);
  if (features === 'url' && url === undefined)
    context.complain('the daemon has no HTTP interface: the payload gets paths');
  const joboutputs = url === undefined ? undefined : `${url}/joboutputs`;
  if (features === 'path' || url === undefined) return { ...featurePlaces(runtimeDir), joboutputs };
  return { machinefeatures: `${url}/machinefeatures`, jobfeatures: `${url}/jobfeatures`, joboutputs };
}

/** Ctrl-C on the terminal and the batch system's SIGTERM reach us alone, since the payload has a session of its own. */
function forwardSignals(pid: number): void {
  // Ctrl-Z: a group without a terminal ignores SIGTSTP, so it is stopped outright, and goes on when we do (SIGCONT below).
  process.on('SIGTSTP', () => {
    try {
      process.kill(-pid, 'SIGSTOP');
    } catch {
      // It has just ended.
    }
    process.kill(process.pid, 'SIGSTOP');
  });
  for (const signal of FORWARDED) {
    process.on(signal, () => {
      try {
        process.kill(-pid, signal);
      } catch {
        // It has just ended; its exit code is on the way.
      }
    });
  }
}
