/**
 * One payload under `exec`'s own hand (SEMANTICS S3.8). It runs the very same heart as the daemon, with the daemon as its
 * source: the last plan that it had stands when the daemon dies, and then the host's channels are read by itself.
 */
import type { ChildProcess } from 'node:child_process';
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import { startHeartbeat } from '../heartbeat.ts';
import { collectNotices, deadlineNotices } from '../lifetime/notice.ts';
import { initialState, isSignalled } from '../lifetime/state.ts';
import type {
  EscalationStep,
  Observation,
  PayloadSpec,
  Policy,
  ProcessRef,
  SourceInfo,
  StepResultReport,
} from '../lifetime/types.ts';
import type { KnownDeadline } from './daemon-word.ts';
import { anybodyAlive, marked, openGroupHold } from './group.ts';

/** The one source of a payload whose daemon lives. */
export const DAEMON_SOURCE: SourceInfo = { name: 'daemon', rank: 'derived', pollMs: 0 };
/** How often it is looked whether the rest of the group still lives, once its leader has ended while being stopped. */
const GROUP_POLL_MS = 200;
/** A payload that forks faster than /proc can be read so often is not caught at all. */
const MAX_ROUNDS = 10;

export interface Supervision {
  observe(observation: Observation): void;
  /** The daemon's `[stop]`, or the configuration's; and which sources there are. */
  configure(policy: Policy, sources: readonly SourceInfo[]): void;
  /** The deadlines in force that the host's own channels have named, not the daemon. */
  known(): readonly KnownDeadline[];
  /** The payload's exit; `stopped` when the deadline's escalation had begun and was not cancelled since. */
  readonly ended: Promise<{
    readonly code: number | null;
    readonly signal: NodeJS.Signals | null;
    readonly stopped: boolean;
    /** Some of it goes on without the command: in its group, or with its marker. */
    readonly left: boolean;
  }>;
  /** Says that the payload is being stopped, for whoever asks meanwhile. */
  stopping(): boolean;
  /** Whether the number of its group is still its own (group.ts). */
  ownsGroup(): boolean;
}

export interface SuperviseOptions {
  readonly child: ChildProcess;
  readonly leader: ProcessRef;
  /** In the environment of every process of the payload. */
  readonly marker: string;
  readonly name: string;
  readonly uid: number;
  readonly graceMs: number | undefined;
  readonly steps: readonly EscalationStep[] | undefined;
  /**
   * Its wall limit, counted from now. Not as an instant: that would come too early, or too late, once the clock is set, as a
   * virtual machine's is soon after its start (S4.2).
   */
  readonly wallSecs: number | undefined;
  readonly policy: Policy;
  readonly clock: Clock;
  readonly log: Logger;
  /** A step was taken: for the daemon's books. */
  onStep(report: StepResultReport): void;
  onJump(): Promise<unknown>;
}

export function supervise(options: SuperviseOptions): Supervision {
  const { child, leader, clock, log } = options;
  const now = clock.now();
  const spec: PayloadSpec = {
    id: 'payload',
    name: options.name,
    uid: options.uid,
    target: { kind: 'process', leader, group: true },
    ...(options.graceMs !== undefined && { graceMs: options.graceMs }),
    ...(options.steps !== undefined && { steps: options.steps }),
    ...(options.wallSecs !== undefined && { limits: { wall_limit_secs: String(options.wallSecs) } }),
    registeredMs: now.wall,
  };
  let resolveEnd: (end: Awaited<Supervision['ended']>) => void = () => {};
  const ended = new Promise<Awaited<Supervision['ended']>>((resolve) => {
    resolveEnd = resolve;
  });

  const holdsGroup = openGroupHold(options);
  const isLed = (): boolean => child.exitCode === null && child.signalCode === null;
  const ownsGroup = (): boolean => isLed() || holdsGroup();

  const beat = startHeartbeat({
    clock,
    state: initialState(now.wall - clock.bootMs(), now.wall - clock.bootMs()),
    carryOut(result) {
      for (const effect of result.effects) {
        // Sources come and go with the daemon here; nobody has taken them out of a configuration.
        if (effect.type === 'log' && effect.event !== 'source_removed')
          log[effect.level]({ event: effect.event, ...effect.fields }, effect.message);
        // The operator's programs are the daemon's business.
        if (effect.type === 'hook') beat.submit({ type: 'hook_ended', run: effect.run.id });
        if (effect.type !== 'signal') continue;
        const report = signalPayload(effect.to, effect.step);
        log.info(
          { event: 'step_taken', signal: effect.step.signal, outcome: report.outcome },
          `${options.name}: ${effect.step.signal}`,
        );
        options.onStep(report);
        beat.submit({ type: 'steps_done', results: [report] });
      }
    },
    onJump: () => options.onJump(),
    onError: (error, input) =>
      log.error(
        { event: 'internal', input: input.type, err: error },
        'a fault in mjf-agent exec: this input is dropped',
      ),
  });
  beat.submit({ type: 'configure', policy: options.policy, sources: [DAEMON_SOURCE] });
  beat.submit({ type: 'payload_registered', spec });

  /**
   * The group as one, also where members have changed their user meanwhile (`su`): its number is nobody else's while the
   * leader or a member lives. For `all` also those that left it, until no new one appears: one that forks while we look is
   * still found. A process that is stopped (SIGSTOP) hears a SIGTERM only once it goes on, so it is told to.
   */
  function signalPayload(to: string, step: StepResultReport['step']): StepResultReport {
    const at = clock.now();
    // Once it has ended its number may be anybody's.
    const leads = isLed();
    let heard =
      to === 'leader' ? leads && strike(leader.pid, step.signal) : ownsGroup() && strike(-leader.pid, step.signal);
    const seen = new Set<string>();
    for (let round = 0; to === 'all' && round < MAX_ROUNDS; round += 1) {
      const fresh = marked(options).filter(({ pid, startTicks }) => !seen.has(`${pid} ${startTicks}`));
      if (fresh.length === 0) break;
      for (const { pid, startTicks } of fresh) {
        seen.add(`${pid} ${startTicks}`);
        heard = strike(pid, step.signal) || heard;
      }
    }
    return { id: spec.id, step, outcome: heard ? 'delivered' : 'no_process', at };
  }

  /** True while a signal of an episode that was not cancelled has gone out. */
  function stopping(): boolean {
    const episode = beat.state().payloads[spec.id]?.episode;
    return episode?.ended === null && isSignalled(episode);
  }

  child.once('exit', (code, signal) => {
    const finish = (): void => {
      const stopped = stopping();
      beat.stop();
      resolveEnd({ code, signal, stopped, left: !stopped && anybodyAlive(options, holdsGroup()) });
    };
    // Ended by itself: nobody waits for what it left in the background, as under any shell; that is the daemon's from here
    // on. While it is being stopped the rest of it is what is being stopped, and its SIGKILL still stands ahead.
    if (!stopping()) {
      finish();
      return;
    }
    holdsGroup();
    const poll = setInterval(() => {
      if (anybodyAlive(options, holdsGroup()) && stopping()) return;
      clearInterval(poll);
      finish();
    }, GROUP_POLL_MS);
  });

  return {
    observe: (observation) => beat.submit({ type: 'observation', observation }),
    configure: (policy, sources) => beat.submit({ type: 'configure', policy, sources }),
    known: () =>
      deadlineNotices(collectNotices(beat.state(), clock.now())).filter(({ source }) => source !== DAEMON_SOURCE.name),
    ended,
    stopping,
    ownsGroup,
  };
}

/** False when nobody is left to hear it. */
function strike(pid: number, signal: string): boolean {
  try {
    process.kill(pid, signal);
    if (signal === 'SIGTERM') process.kill(pid, 'SIGCONT');
    return true;
  } catch {
    return false;
  }
}
