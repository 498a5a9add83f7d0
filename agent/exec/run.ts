/** One payload from its start to its exit code, with or without a daemon (SEMANTICS S3.7, S3.8). */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:os';
import { request } from '../client.ts';
import { systemClock } from '../clock.ts';
import { featurePlaces } from '../commands/feature-places.ts';
import type { Config } from '../config/types.ts';
import { policyOf } from '../config.ts';
import { EXIT } from '../exit-codes.ts';
import type { EscalationStep, Observation } from '../lifetime/types.ts';
import { createSink } from '../log/sink.ts';
import { createLog } from '../log.ts';
import { openDaemonLink } from './daemon-link.ts';
import { noticeOf } from './daemon-plan.ts';
import { hostPlaces, newMarker, type Places, payloadEnvironment } from './environment.ts';
import { ownSources } from './fallback.ts';
import { forwardSignals } from './forward.ts';
import type { Limits } from './limits.ts';
import { type Codes, finalWordOf } from './outcome.ts';
import { daemonPlaces, payloadUrl } from './places.ts';
import { startCommand } from './start.ts';
import { startStopwatch } from './stopwatch.ts';
import { DAEMON_SOURCE, type Supervision, supervise } from './supervise.ts';

/** Shared with the payload, and perhaps a pipe that nobody reads: written without ever waiting. */
const STDERR_FD = 2;
/** Whether the daemon lives is asked before the payload starts; it answers from the same machine. */
const FIRST_ANSWER_MS = 2_000;

export interface PayloadWish {
  readonly command: string;
  readonly args: readonly string[];
  readonly name: string;
  readonly features: 'path' | 'url';
  readonly graceMs: number | undefined;
  readonly steps: readonly EscalationStep[] | undefined;
  readonly limits: Limits;
  /** What its end means to the site; each beats the configuration's. */
  readonly codes: Codes;
  readonly runtimeDir: string;
  readonly config: Config;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** One line for whoever started it. */
  complain(sentence: string): void;
}

/** Gives `exec`'s exit code. */
export async function runPayload(wish: PayloadWish): Promise<number> {
  const { runtimeDir, config, complain } = wish;
  const first = await request({
    channel: 'agent',
    runtimeDir,
    method: 'GET',
    path: '/v1/lifetime',
    timeoutMs: FIRST_ANSWER_MS,
  });
  const alive = !('unreachable' in first) && first.status === 200;
  if (alive && overdue(first.body)) return refuse(wish);

  const sink = createSink({ fd: STDERR_FD, onDrop: () => {} });
  const { log } = createLog({ level: 'warn', tty: true, stream: sink });
  const host = hostPlaces(config, wish.env, featurePlaces(runtimeDir));
  const early: Observation[] = [];
  let observe: (observation: Observation) => void = (observation) => early.push(observation);
  const fallback = ownSources({
    config,
    env: wish.env,
    places: host,
    log,
    clock: systemClock,
    emit: (observation) => observe(observation),
    onSources: () => configure(),
  });
  if (!alive) {
    await fallback.firstAnswers();
    if (fallback.overdue(early)) {
      fallback.stop();
      return refuse(wish);
    }
  }

  const { wall_limit_secs: wallSecs } = wish.limits;
  const ranMs = startStopwatch(systemClock);
  const marker = newMarker();
  const view = randomBytes(16).toString('hex');
  /** What counts where the payload states nothing itself: the configuration's until the daemon has spoken, then its last word. */
  let policy = policyOf(config);
  let supervision: Supervision | null = null;
  const configure = (): void => supervision?.configure(policy, [DAEMON_SOURCE, ...fallback.infos()]);
  // What is read from the daemon's own output is its own word, which nobody else could confirm.
  const readsDaemon = [host.machinefeatures, host.jobfeatures].some((place) => place?.startsWith(`${runtimeDir}/`));
  const daemon = openDaemonLink({
    runtimeDir,
    registration: registrationOf(wish),
    marker,
    view,
    ...(wallSecs !== undefined && { wallSecs, beganMs: () => systemClock.now().wall - ranMs() }),
    log,
    known: () => supervision?.known().filter(({ source }) => !(readsDaemon && source === 'directory')) ?? [],
    onPlan(plan) {
      policy = {
        ...policy,
        ...(plan.graceMs !== null && { graceMs: plan.graceMs }),
        ...(plan.steps !== null && { steps: plan.steps }),
      };
      configure();
      const reading =
        plan.deadlineMs === null ? ({ is: 'negative' } as const) : ({ is: 'present', value: noticeOf(plan) } as const);
      supervision?.observe({
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
      configure();
    },
  });
  const reserved = alive && (await daemon.reserve());
  const places = await findPlaces(wish, alive ? null : host, reserved ? view : null);
  const rowUrl = await payloadUrl(runtimeDir, reserved ? daemon.id() : null);
  const started = await startCommand(wish.command, wish.args, payloadEnvironment(wish.env, places, marker, rowUrl));
  if ('code' in started) {
    fallback.stop();
    await daemon.close();
    complain(started.reason);
    return started.code;
  }

  const { child, leader } = started;
  supervision = supervise({
    child,
    leader,
    marker,
    name: wish.name,
    uid: process.getuid?.() ?? 0,
    graceMs: wish.graceMs,
    steps: wish.steps,
    wallSecs,
    policy,
    clock: systemClock,
    log,
    onStep: (report) => daemon.acknowledge(report),
    onJump: () => Promise.all([fallback.pollAll(), daemon.askedAnew()]),
  });
  configure();
  for (const observation of early) supervision.observe(observation);
  observe = supervision.observe;
  forwardSignals(leader.pid, supervision.ownsGroup);
  daemon.follow({ pid: leader.pid, group: true });

  const end = await supervision.ended;
  fallback.stop();
  const word = finalWordOf(end, { ...config.report.codes, ...wish.codes });
  const keptOn = await daemon.close({ word, leave: end.left });
  if (end.left && !keptOn)
    complain('processes of the payload go on in the background, and without the daemon nobody stops them in time');
  sink.flush();
  if (end.stopped) return EXIT.deadline;
  return end.signal === null ? (end.code ?? EXIT.failure) : 128 + constants.signals[end.signal];
}

/** S3.7: after the deadline nothing new is started. */
function refuse({ complain }: PayloadWish): number {
  complain('the deadline of this machine has passed: nothing new is started (75, requeue it)');
  return EXIT.deadline;
}

function overdue(body: Buffer): boolean {
  try {
    return (JSON.parse(body.toString()) as { overdue?: unknown }).overdue === true;
  } catch {
    return false;
  }
}

function registrationOf({ name, graceMs, steps, limits }: PayloadWish) {
  return {
    name,
    ...(graceMs !== undefined && { grace_secs: graceMs / 1000 }),
    ...(steps !== undefined && {
      steps: steps.map((step) => ({ ...step, at: step.at === 'grace' ? 'grace' : `${step.at}ms` })),
    }),
    ...(Object.keys(limits).length > 0 && { limits }),
  };
}

/** Where the daemon publishes; without one (`host` given) where the host does. */
async function findPlaces(
  { features, limits, runtimeDir, complain }: PayloadWish,
  host: Places | null,
  view: string | null,
): Promise<Places> {
  if (view === null && Object.keys(limits).some((key) => key !== 'wall_limit_secs'))
    complain('the payload gets no features of its own: no daemon keeps them, so it is not told of these limits');
  if (host === null) return daemonPlaces({ runtimeDir, view, features, complain });
  if (features === 'url' && !/^https?:/.test(host.machinefeatures ?? host.jobfeatures ?? ''))
    complain('without a daemon there are no URLs: the payload gets what the host offers');
  return host;
}
