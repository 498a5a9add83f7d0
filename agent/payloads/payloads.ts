/** The payloads of a daemon: signals, who is left, and what holds them together, over one memory and one scan of /proc. */
import type { Logger } from 'pino';
import type { Journal } from '../journal.ts';
import type { Instant, PayloadSpec, PayloadState, SnapshotPayload, StepResultReport } from '../lifetime/types.ts';
import type { Containment } from '../ports.ts';
import { createGroupDoor } from './cgroup-target.ts';
import { deliver, type SignalEffect } from './delivery.ts';
import { createKin } from './kin.ts';
import { lastCalls } from './last-call.ts';
import { findGone, type Gone } from './liveness.ts';
import { carries } from './marker.ts';
import { createScanner, isProcessSpec, type ProcessSpec, type ProcessTable, readLeader } from './members.ts';
import { processLives } from './process.ts';

/**
 * `exec` tells the last word of a payload that has ended before its row may go (S5.3), and needs 2 s for it at the most. Who
 * looks in between must not end the row: its word would be lost. One that hangs is not waited for much longer.
 */
const GOODBYE_MS = 4_000;

export interface PayloadsOptions {
  readonly procRoot?: string;
  /** Never signalled. */
  readonly selfPid: number;
  readonly log: Logger;
  readonly journal: Pick<Journal, 'done'>;
  now(): Instant;
  /** Throws as process.kill does; that is the default. */
  readonly kill?: (pid: number, signal: string) => void;
}

export interface Payloads {
  /** Carries out the signals of one tick; never throws (delivery.ts). */
  deliver(signals: readonly SignalEffect[], untilMono?: number): readonly StepResultReport[];
  /** SIGTERM for whom a leader was to stop and has not (last-call.ts). To be called each second, with every row. Never throws. */
  callTheRest(rows: readonly SnapshotPayload[]): readonly StepResultReport[];
  /** Who is gone (liveness.ts). To be called each second with every payload: what it sees is what `to all` will remember. */
  look(specs: readonly PayloadSpec[], states?: ReadonlyMap<string, PayloadState>): Gone;
  /** By what the processes of this payload are found, the surest that holds now. */
  containment(spec: PayloadSpec): Containment;
}

/** Nothing is held open. */
export function openPayloads(options: PayloadsOptions): Payloads {
  const { selfPid, log } = options;
  const procRoot = options.procRoot ?? '/proc';
  const scanner = createScanner(procRoot, () => options.now().mono);
  const door = createGroupDoor(procRoot);
  const kin = createKin((payload) =>
    log.warn({ event: 'kin_full', payload }, 'a payload has more processes than are remembered one by one'),
  );
  /** When it was first seen that a payload has ended whose `exec` lives. */
  const endedMono = new Map<string, number>();
  let scanFailed = false;

  return {
    deliver: (signals, untilMono) =>
      deliver(signals, { ...options, procRoot, kin, scanner, door, ...(untilMono === undefined ? {} : { untilMono }) }),
    callTheRest(rows) {
      const leaderLives = (spec: PayloadSpec): boolean =>
        isProcessSpec(spec) && processLives(spec.target.leader, procRoot);
      const signals = lastCalls(rows, options.now().wall, leaderLives);
      return signals.length === 0 ? [] : deliver(signals, { ...options, procRoot, kin, scanner, door, rest: true });
    },
    look(specs, states) {
      kin.keep(new Set(specs.map(({ id }) => id)));
      const processes = specs.filter(isProcessSpec);
      const table = processes.length === 0 ? null : scan();
      if (table !== null) for (const spec of processes) kin.watch(spec, table);
      const found = findGone(specs, procRoot, {
        selfPid,
        kin,
        door,
        scan: scanner.full,
        ...(states === undefined ? {} : { states }),
      });
      return { ...found, gone: withoutGoodbyes(specs, found.gone) };
    },
    containment: (spec) => (isProcessSpec(spec) ? containmentOf(spec) : 'cgroup'),
  };

  function withoutGoodbyes(specs: readonly PayloadSpec[], gone: readonly string[]): readonly string[] {
    for (const id of endedMono.keys()) if (!gone.includes(id)) endedMono.delete(id);
    if (gone.length === 0) return gone;
    const now = options.now().mono;
    const delivererOf = new Map(specs.map(({ id, deliverer }) => [id, deliverer]));
    return gone.filter((id) => {
      const deliverer = delivererOf.get(id);
      if (deliverer === undefined || !processLives(deliverer, procRoot)) return true;
      const since = endedMono.get(id) ?? now;
      endedMono.set(id, since);
      return now - since >= GOODBYE_MS;
    });
  }

  function scan(): ProcessTable | null {
    try {
      const table = scanner.recent();
      scanFailed = false;
      return table;
    } catch (error) {
      if (!scanFailed) log.error({ event: 'payload_scan_failed', err: error }, 'the processes cannot be listed');
      scanFailed = true;
      return null;
    }
  }

  function containmentOf(spec: ProcessSpec): Containment {
    const { leader, group, marker } = spec.target;
    if (marker !== undefined && kin.known(spec).some(({ pid }) => carries(pid, marker, procRoot) === true))
      return 'marker';
    const state = readLeader(spec, procRoot);
    const leads = state.is === 'there' ? state.stat.session === leader.pid : group;
    return group && leads ? 'session' : 'descent';
  }
}
