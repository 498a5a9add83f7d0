/**
 * Signals to processes, each on the right one or on none (SYSTEMS.md, "Signals"; DESIGN.md, promise 3).
 *
 * Identity is checked, then `kill` is called: between the two the process could end and its pid be given to another. That is
 * defensible. Both stand in one synchronous stretch of some microseconds, and the kernel gives pids in ascending order: for
 * a mistake all other pids (32,768 at least) would have to be used up in between. The door that closes even this gap,
 * pidfd_send_signal(2), is not open to Node. Members are signalled one by one, never by kill(-pgid): with CAP_KILL that
 * would also hit members that belong to other users.
 */
import type { Logger } from 'pino';
import type { Journal } from '../journal.ts';
import type { Effect, Instant, StepOutcome, StepResultReport } from '../lifetime/types.ts';
import { allMembers, groupMembers, groupOf, type ProcessTable, readLeader, readProcessTable } from './members.ts';
import { isKernelThread, isZombie, type ProcessStat, ProcessUnreadableError, readProcess } from './process.ts';

/** A payload that forks faster than /proc can be read ten times is caught by its SIGKILL, or not at all. */
const MAX_ROUNDS = 10;

export type SignalEffect = Extract<Effect, { readonly type: 'signal' }>;

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
}

/** One effect on its way. */
interface Attempt {
  readonly effect: SignalEffect;
  /** The payload's process group; null: nobody but the leader is to be looked for. */
  readonly pgrp: number | null;
  /** Start time by pid of whoever was looked at: nobody gets a signal of one step twice. */
  readonly seen: Map<number, number>;
  delivered: number;
  refusal: string | null;
  firstAt: Instant | null;
}

/**
 * Carries out all signals of one tick, in order; never throws. `group` and `all` are repeated until no new member appears,
 * so that a forking payload is caught; one scan of /proc serves the whole batch in each round. Outcomes: `delivered` = at
 * least one process got it; `no_process`; `refused` = identity not readable, another owner, or not ours to kill (logged).
 */
export function deliver(signals: readonly SignalEffect[], options: DeliverOptions): readonly StepResultReport[] {
  const { journal, selfPid, log } = options;
  const procRoot = options.procRoot ?? '/proc';
  const kill = options.kill ?? ((pid: number, signal: string) => process.kill(pid, signal));
  const reports: StepResultReport[] = [];
  const open: { readonly attempt: Attempt; readonly index: number }[] = [];
  let table: ProcessTable | 'unreadable' | null = null;

  for (const effect of signals) {
    const attempt = begin(effect);
    if (attempt.pgrp !== null) open.push({ attempt, index: reports.length });
    const report = reportOf(attempt);
    journal.done(report);
    reports.push(report);
    if (report.outcome === 'refused') logRefusal(attempt);
  }
  // The second round always takes place: one scan cannot see a process that hops from pid to pid.
  for (let round = 2; round <= MAX_ROUNDS && open.length > 0; round += 1) {
    table = null;
    if (repeat() === 0) break;
  }
  return reports;

  function begin(effect: SignalEffect): Attempt {
    const { leader: ref } = effect.payload.target;
    if (!isOrdinaryPid(ref.pid)) return { ...started(effect, null), refusal: 'not_a_payload' };
    if (effect.to === 'leader') {
      const attempt = started(effect, null);
      strike(attempt, ref.pid, ref.startTicks);
      return attempt;
    }
    const leader = readLeader(effect.payload, procRoot);
    if (leader.is === 'unreadable') return { ...started(effect, null), refusal: 'unreadable' };
    // A number that was given away again names no group of the payload any more (see groupOf).
    if (leader.is === 'reused') return started(effect, null);
    const attempt = started(effect, groupOf(effect.payload, leader));
    // The leader of a group need not wait for the scan. With `all`, its end would orphan the descendants before they are seen.
    if (effect.to === 'group' && leader.is === 'there') strike(attempt, ref.pid, ref.startTicks);
    strikeMembers(attempt);
    // Where /proc cannot be listed, the leader at least gets its signal.
    if (leader.is === 'there' && !attempt.seen.has(ref.pid)) strike(attempt, ref.pid, ref.startTicks);
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
      if (report.outcome === 'refused') logRefusal(attempt);
    }
    return fresh;
  }

  /** Signals all members not looked at before; how many those were. */
  function strikeMembers(attempt: Attempt): number {
    let fresh = 0;
    for (const { pid, startTicks } of membersOf(attempt)) {
      if (attempt.seen.get(pid) === startTicks) continue;
      strike(attempt, pid, startTicks);
      fresh += 1;
    }
    return fresh;
  }

  function membersOf(attempt: Attempt): readonly ProcessStat[] {
    const { payload, to } = attempt.effect;
    table ??= takeTable();
    if (table === 'unreadable') {
      attempt.refusal = 'unreadable';
      return [];
    }
    const pgrp = attempt.pgrp ?? 0;
    return to === 'all' ? allMembers(payload, pgrp, table, attempt.seen) : groupMembers(payload, pgrp, table);
  }

  function takeTable(): ProcessTable | 'unreadable' {
    try {
      return readProcessTable(procRoot);
    } catch (error) {
      log.error({ event: 'signal_scan_failed', err: error }, 'the members of process groups cannot be found');
      return 'unreadable';
    }
  }

  /** Identity and kill, nothing in between. */
  function strike(attempt: Attempt, pid: number, startTicks: number): void {
    attempt.seen.set(pid, startTicks);
    if (!isOrdinaryPid(pid)) return;
    try {
      const info = readProcess(pid, procRoot);
      if (info === null || info.startTicks !== startTicks || isZombie(info)) return;
      if (isKernelThread(info)) attempt.refusal = 'kernel_thread';
      else if (info.uids.some((uid) => uid !== attempt.effect.payload.uid)) attempt.refusal = 'other_owner';
      else {
        kill(pid, attempt.effect.step.signal);
        attempt.delivered += 1;
        // Stopped (SIGSTOP, Ctrl-Z), it would hear the SIGTERM only when somebody lets it go on; systemd does the same.
        if (info.state === 'T' && attempt.effect.step.signal === 'SIGTERM') kill(pid, 'SIGCONT');
        attempt.firstAt ??= options.now();
      }
    } catch (error) {
      const code = refusalOf(error);
      if (code !== null) attempt.refusal = code;
    }
  }

  function isOrdinaryPid(pid: number): boolean {
    return Number.isSafeInteger(pid) && pid > 1 && pid !== selfPid;
  }

  function reportOf(attempt: Attempt): StepResultReport {
    const { payload, step } = attempt.effect;
    return { id: payload.id, step, outcome: outcomeOf(attempt), at: attempt.firstAt ?? options.now() };
  }

  function logRefusal(attempt: Attempt): void {
    const { payload, step, to } = attempt.effect;
    const { pid } = payload.target.leader;
    log.warn(
      { event: 'signal_refused', payload: payload.id, pid, to, signal: step.signal, reason: attempt.refusal },
      'a signal is held back: the process cannot be shown to be the payload',
    );
  }
}

function started(effect: SignalEffect, pgrp: number | null): Attempt {
  return { effect, pgrp, seen: new Map(), delivered: 0, refusal: null, firstAt: null };
}

function outcomeOf(attempt: Attempt): StepOutcome {
  if (attempt.delivered > 0) return 'delivered';
  return attempt.refusal === null ? 'no_process' : 'refused';
}

/** null: the process ended on its own, which is fine. */
function refusalOf(error: unknown): string | null {
  if (error instanceof ProcessUnreadableError) return 'unreadable';
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'internal';
  return code === 'ESRCH' ? null : code.toLowerCase();
}
