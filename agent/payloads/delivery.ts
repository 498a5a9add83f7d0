/**
 * Signals to processes, each on the right one or on none (SYSTEMS.md, "Signals"; DESIGN.md, promise 3).
 *
 * Identity is checked, then `kill` is called: between the two the process could end and its pid be given to another. That is
 * defensible. Both stand in one synchronous stretch of some microseconds, in which the process would have to end, be reaped
 * by its parent, and a new one be started just when the kernel, which gives pids in a circle, has come to this very number.
 * The door that closes even this gap, pidfd_send_signal(2), is not open to Node. Members are signalled one by one, never by
 * kill(-pgid): with CAP_KILL that would also hit members that belong to other users.
 */
import type { Logger } from 'pino';
import type { Journal } from '../journal.ts';
import type { Instant, StepResultReport } from '../lifetime/types.ts';
import { type Aim, aimAt, goesToTheRest, isOrdinaryPid, NOBODY } from './aim.ts';
import {
  type Attempt,
  logLeftOut,
  logRefusal,
  outcomeOf,
  refusalOf,
  refuse,
  type SignalEffect,
  spare,
  started,
} from './attempt.ts';
import { createGroupDoor, type GroupDoor } from './cgroup-target.ts';
import { createKin, type Kin } from './kin.ts';
import { createMarkerReader } from './marker.ts';
import { createScanner, type ProcessTable, type Scanner } from './members.ts';
import { isKernelThread, isZombie, ProcessUnreadableError, readProcess } from './process.ts';

/**
 * A process group that forks faster than /proc can be read ten times may get away; kill(-pgid) would end it, and whoever
 * else is in it. A control group does not get away from SIGKILL.
 */
const MAX_ROUNDS = 10;
/** After a round that found somebody new, so many must find nobody: a process can hop past one scan from pid to pid. */
const QUIET_ROUNDS = 3;

export type { SignalEffect } from './attempt.ts';

export interface DeliverOptions {
  /** Hears of each step right after its kill, before the next one's. */
  readonly journal: Pick<Journal, 'done'>;
  /** Throws as process.kill does; that is the default. */
  readonly kill?: (pid: number, signal: string) => void;
  readonly procRoot?: string;
  /** Never signalled. */
  readonly selfPid: number;
  readonly log: Logger;
  now(): Instant;
  /** What is remembered between deliveries; absent = nothing. */
  readonly kin?: Kin;
  readonly scanner?: Scanner;
  readonly door?: GroupDoor;
  /** These are for the others: the leaders have had the signal. */
  readonly rest?: true;
  /** No further payload is begun after this instant (monotonic): those are left to the next call. At least one is. */
  readonly untilMono?: number;
}

/**
 * Carries out all signals of one tick, in order; never throws. Whatever has members is searched until no new one appears,
 * so that a forking payload is caught; one scan of /proc serves the whole batch in each round. Outcomes: `delivered` = at
 * least one process got it; `no_process`; `refused` = identity not readable, another owner, or not ours to kill (logged).
 */
export function deliver(signals: readonly SignalEffect[], options: DeliverOptions): readonly StepResultReport[] {
  const until = options.untilMono ?? Number.POSITIVE_INFINITY;
  const { journal, selfPid, log } = options;
  const procRoot = options.procRoot ?? '/proc';
  const kill = options.kill ?? ((pid: number, signal: string) => process.kill(pid, signal));
  const scanner = options.scanner ?? createScanner(procRoot, () => options.now().mono);
  let table: ProcessTable | ProcessUnreadableError | null = null;
  const context = {
    procRoot,
    selfPid,
    log,
    kin: options.kin ?? createKin(),
    door: options.door ?? createGroupDoor(procRoot),
    markers: createMarkerReader(markersOf(signals), procRoot, selfPid),
    table: takeTable,
  };
  const reports: StepResultReport[] = [];
  const open: { readonly attempt: Attempt; readonly index: number }[] = [];
  const held: (() => void)[] = [];

  try {
    carryOut();
  } finally {
    for (const release of held) quietly(release);
  }
  for (const { attempt } of open) if (attempt.delivered > 0 && attempt.refused > 0) logLeftOut(attempt, log);
  return reports;

  function carryOut(): void {
    for (const effect of signals) {
      if (reports.length > 0 && options.now().mono > until) break;
      const attempt = begin(effect);
      if (attempt.aim.find !== null) open.push({ attempt, index: reports.length });
      const report = reportOf(attempt);
      journal.done(report);
      reports.push(report);
      if (report.outcome === 'refused') logRefusal(attempt, log);
    }
    // The second round always takes place: one scan cannot see a process that hops from pid to pid.
    let quiet = QUIET_ROUNDS - 1;
    for (let round = 2; round <= MAX_ROUNDS && open.length > 0 && quiet < QUIET_ROUNDS; round += 1) {
      table = null;
      quiet = repeat() === 0 ? quiet + 1 : 0;
    }
  }

  function begin(effect: SignalEffect): Attempt {
    const attempt = attack(effect);
    const { payload, to, step } = effect;
    if (outcomeOf(attempt) !== 'no_process' || !goesToTheRest(payload, to, step.signal)) return attempt;
    return attack({ ...effect, to: 'all' });
  }

  function attack(effect: SignalEffect): Attempt {
    const aim = aimAt(effect.payload, effect.to, context);
    if ('refusal' in aim) return { ...started(effect, NOBODY), refusal: aim.refusal };
    if (effect.step.signal === 'SIGKILL') {
      const killed = quietly(aim.killAtOnce);
      if (killed !== null) return { ...started(effect, NOBODY), delivered: killed, firstAt: options.now() };
      const release = quietly(aim.hold);
      if (release !== null) held.push(release);
    }
    const attempt = started(effect, aim);
    if (options.rest) spare(attempt);
    if (aim.first !== null) strike(attempt, aim.first.pid, aim.first.startTicks);
    strikeMembers(attempt);
    if (aim.last !== null && !attempt.seen.has(aim.last.pid)) strike(attempt, aim.last.pid, aim.last.startTicks);
    if (effect.step.signal === 'SIGTERM' && aim.wake !== null) wake(attempt, aim.wake);
    return attempt;
  }

  function repeat(): number {
    let fresh = 0;
    for (const { attempt, index } of open) {
      const before = reports[index]?.outcome;
      fresh += strikeMembers(attempt);
      const report = reportOf(attempt);
      if (report.outcome === before) continue;
      journal.done(report);
      reports[index] = report;
      if (report.outcome === 'refused') logRefusal(attempt, log);
    }
    return fresh;
  }

  /** Signals all members not looked at before; how many those were. */
  function strikeMembers(attempt: Attempt): number {
    let fresh = 0;
    try {
      for (const { pid, startTicks } of attempt.aim.find?.() ?? []) {
        if (attempt.seen.get(pid) === startTicks) continue;
        strike(attempt, pid, startTicks);
        fresh += 1;
      }
    } catch (error) {
      attempt.refusal = refusalOf(error);
    }
    return fresh;
  }

  /** Throws, once for a round, what is told once. */
  function takeTable(): ProcessTable {
    if (table === null) {
      try {
        table = scanner.full();
      } catch (error) {
        log.error({ event: 'signal_scan_failed', err: error }, 'the members of process groups cannot be found');
        table = new ProcessUnreadableError(0, error);
      }
    }
    if (table instanceof ProcessUnreadableError) throw table;
    return table;
  }

  /** Identity and kill, nothing in between. */
  function strike(attempt: Attempt, pid: number, startTicks: number): void {
    const { aim, effect } = attempt;
    attempt.seen.set(pid, startTicks);
    if (!isOrdinaryPid(pid, selfPid)) return;
    try {
      // Before the start time: were the pid given away after this, that would be another.
      if (!aim.belongs(pid)) return;
      const info = readProcess(pid, procRoot);
      if (info === null || info.startTicks !== startTicks || isZombie(info)) return;
      if (isKernelThread(info)) refuse(attempt, 'kernel_thread');
      else if (!aim.anyOwner && info.uids.some((uid) => uid !== effect.payload.uid)) refuse(attempt, 'other_owner');
      else {
        kill(pid, effect.step.signal);
        attempt.delivered += 1;
        // Stopped (SIGSTOP, Ctrl-Z), it would hear the SIGTERM only when somebody lets it go on; systemd does the same.
        if (info.state === 'T' && effect.step.signal === 'SIGTERM') kill(pid, 'SIGCONT');
        attempt.firstAt ??= options.now();
      }
    } catch (error) {
      const code = refusalOf(error);
      if (code !== null) refuse(attempt, code);
    }
  }

  function wake(attempt: Attempt, thaw: NonNullable<Aim['wake']>): void {
    const { payload } = attempt.effect;
    try {
      if (thaw() !== 'refused') return;
    } catch {
      // Who cannot be read was told of already.
      return;
    }
    log.warn({ event: 'cgroup_frozen', payload: payload.id }, 'a control group is frozen and not ours to thaw');
  }

  function reportOf(attempt: Attempt): StepResultReport {
    const { payload, step } = attempt.effect;
    const outcome = outcomeOf(attempt);
    return { id: payload.id, step, outcome, at: attempt.firstAt ?? options.now(), ...(options.rest && { rest: true }) };
  }
}

/** Only for whom a step to all is, or may come, under way: reading every environment is the dearest of all searches. */
function markersOf(signals: readonly SignalEffect[]): ReadonlySet<string> {
  const markers = new Set<string>();
  for (const { payload, to, step } of signals) {
    const marker = payload.target.kind === 'process' ? payload.target.marker : undefined;
    if (marker !== undefined && (to === 'all' || goesToTheRest(payload, to, step.signal))) markers.add(marker);
  }
  return markers;
}

/** What helps where it can be done: without it signals go out all the same. */
function quietly<T>(act: (() => T) | null): T | null {
  try {
    return act === null ? null : act();
  } catch {
    return null;
  }
}
