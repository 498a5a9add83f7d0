/**
 * A unit's stop signal is systemd's StopUnit: its ExecStop runs, it does not come back, and what depends on it goes too. Told
 * before it is done is what has to be started again when the host cancels (SEMANTICS S3.6). Where systemd does not take the
 * order, the processes get their SIGTERM from us: no payload loses its warning. Every wait is bounded.
 */
import type { Logger } from 'pino';
import type { HandResult } from '../hand/hand.ts';
import type { Input, Instant, StepOutcome, StepResultReport } from '../lifetime/types.ts';
import type { SignalEffect } from './delivery.ts';
import { openUnitStarts, type StartEffect, type UnitStarts } from './unit-starts.ts';
import { isTaken, type Lane, laneOf, toStartAgain, type WaitingStop, waitingStop, within } from './unit-waiting.ts';
import type { Units } from './units.ts';

export interface UnitSteps {
  /**
   * Carries out the stop signals of one tick, each with a unit as its target; one order to systemd for all. Ends with
   * `steps_done`, after 5 s at the latest. Never rejects.
   */
  stop(effects: readonly SignalEffect[]): Promise<void>;
  /**
   * The SIGKILL of these payloads is about to go out: who still waits for systemd gets its SIGTERM from us, now. What systemd
   * is told of it stays as it is. Synchronous.
   */
  hurry(payloads: ReadonlySet<string>): void;
  /**
   * Starts again what a cancelled stop took down, trying for a minute. Ends with `units_started`. Never rejects. What arrives
   * later counts: a stop of this payload that systemd has not been given yet is taken back and reported as `no_process`.
   */
  start(effect: StartEffect): Promise<void>;
  /** Nothing is started afterwards; a start that waits for its next attempt is given up, and repeated by the next agent. */
  close(): void;
}

export interface UnitStepsOptions {
  readonly units: Pick<Units, 'available' | 'foresee' | 'look' | 'stop' | 'start'>;
  submit(input: Input): void;
  /** Signals the processes themselves; synchronous. Its steps are written down and counted where it happens. */
  deliver(effects: readonly SignalEffect[]): readonly StepResultReport[];
  readonly log: Logger;
  /** As `Metrics.count`. */
  count(name: string, labels: Readonly<Record<string, string>>): void;
  now(): Instant;
  /** Waits between the attempts of a start; resolves early when the signal aborts. For tests. */
  readonly pause?: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly bounds?: Partial<StopBounds>;
}

/** Together 5 s: a payload with the default grace keeps nearly all of its window even where systemd hangs. */
export interface StopBounds {
  /** What would go down, and may it? systemd answers in 10 ms; a machine under load in some 100. */
  readonly foreseeMs: number;
  /** Until systemd has taken the order, the root hand's start included. */
  readonly stopMs: number;
  /** After an order that failed: which of the units does systemd stop all the same? */
  readonly lookMs: number;
  /** An order to start that is on its way must come first, or it would undo the stop. */
  readonly orderMs: number;
}
const BOUNDS: StopBounds = { foreseeMs: 1_500, stopMs: 2_000, lookMs: 1_000, orderMs: 500 };

/** A start waits so long for an order to stop that is on its way. What takes longer hangs, and a start would hang with it. */
const AFTER_STOP_MS = 10_000;

export function openUnitSteps(options: UnitStepsOptions): UnitSteps {
  const { units, submit, log, count } = options;
  const bounds = { ...BOUNDS, ...options.bounds };
  const starts: UnitStarts = openUnitStarts(options);
  /** Stops whose outcome is not known yet. */
  const open = new Set<WaitingStop>();
  const ordersToStop = new Set<Promise<unknown>>();

  async function stop(effects: readonly SignalEffect[]): Promise<void> {
    // Before anything is waited for: what arrives later finds it.
    const arrived = effects.map((effect) => waitingStop(effect, starts.giveUp(effect.payload.id, new Set())));
    for (const each of arrived) open.add(each);
    try {
      await carryOut(arrived);
    } finally {
      for (const each of arrived) open.delete(each);
    }
  }

  async function carryOut(arrived: readonly WaitingStop[]): Promise<void> {
    await foresee(arrived);
    const known = arrived.filter(isWanted);
    for (const each of known) each.phase = 'known';
    tellWhatStops(known);
    const inLane = (lane: Lane): readonly WaitingStop[] =>
      known.filter((each) => isWanted(each) && laneOf(each, units.available()) === lane);
    const refused = inLane('refused');
    for (const { effect, forecast } of refused) {
      const why = forecast?.is === 'refused' ? forecast.reason : '';
      log.error({ event: 'unit_refused', payload: effect.payload.id }, `a unit is not stopped: ${why}`);
    }
    report(refused, 'refused');
    // First: these need not wait for systemd.
    fallBack(inLane('idle'));
    const direct = inLane('direct');
    if (direct.length > 0) warn(direct, units.available() ? 'RefuseManualStop=yes' : 'systemd does not run here');
    fallBack(direct);
    await stopThrough(inLane('order'));
  }

  async function foresee(stops: readonly WaitingStop[]): Promise<void> {
    if (!units.available()) return;
    const forecasts = await units.foresee([...new Set(stops.map(({ unit }) => unit))], bounds.foreseeMs);
    for (const each of stops) each.forecast = forecasts?.get(each.unit);
  }

  /** Before anything is stopped, so that a crash in between cannot lose it. */
  function tellWhatStops(stops: readonly WaitingStop[]): void {
    const inputs = stops.flatMap((each): readonly Input[] => {
      const { unit, forecast } = each;
      const { id } = each.effect.payload;
      // Others are not to start what stops with it.
      starts.giveUp(id, new Set([unit, ...(forecast?.is === 'running' ? forecast.startAgain : [])]));
      if (forecast?.is === 'refused') return [];
      if (forecast?.is === 'running' && forecast.lost.length > 0)
        log.info(
          { event: 'units_lost', payload: id, units: forecast.lost.slice(0, MAX_NAMED) },
          'stopped with their unit, these cannot be started again: they were made at run time',
        );
      return [{ type: 'units_stopping', id, units: toStartAgain(each) }];
    });
    if (inputs.length > 0) submit({ type: 'together', inputs });
  }

  async function stopThrough(stops: readonly WaitingStop[]): Promise<void> {
    if (stops.length > 0) await within(starts.settled(), bounds.orderMs, undefined);
    const ordered = stops.filter(isWanted);
    if (ordered.length === 0) return;
    for (const each of ordered) each.phase = 'ordered';
    const names = [...new Set(ordered.map(({ unit }) => unit))];
    const result = await within(orderToStop(names), bounds.stopMs, LATE);
    const taken = result.ok ? new Set(names) : await takenAllTheSame(ordered);
    const through = ordered.filter(({ unit }) => taken.has(unit));
    const rest = ordered.filter((each) => !taken.has(each.unit) && !each.reported);
    if (through.length > 0) {
      const fields = { event: 'units_stopped', units: [...taken].slice(0, MAX_NAMED) };
      log.info(fields, `systemd stops ${taken.size} unit${taken.size === 1 ? '' : 's'}`);
    }
    report(through, 'delivered');
    const left = rest.filter(isWanted);
    if (!result.ok && left.length > 0) warn(left, `${result.code}: ${result.detail}`);
    report(
      rest.filter(({ cancelled }) => cancelled),
      'no_process',
    );
    fallBack(left);
  }

  function orderToStop(names: readonly string[]): Promise<HandResult> {
    const result = units.stop(names).catch(() => LATE);
    ordersToStop.add(result);
    void result.then(() => ordersToStop.delete(result));
    return result;
  }

  /** An order for many fails when one of them is refused: the others are being stopped. */
  async function takenAllTheSame(stops: readonly WaitingStop[]): Promise<ReadonlySet<string>> {
    const names = [...new Set(stops.map(({ unit }) => unit))];
    const now = await within(units.look(names, bounds.lookMs), bounds.lookMs, null);
    return new Set(stops.filter((each) => isTaken(each, now)).map(({ unit }) => unit));
  }

  async function start(effect: StartEffect): Promise<void> {
    const before = [...open].filter((each) => each.effect.payload.id === effect.payload && isWanted(each));
    for (const each of before) each.cancelled = true;
    const takenBack = before.filter(({ phase, reported }) => phase !== 'ordered' && !reported);
    const started = starts.start(
      { ...effect, units: [...new Set([...effect.units, ...takenBack.flatMap(({ gaveUp }) => gaveUp)])] },
      {
        after: within(Promise.all(ordersToStop), AFTER_STOP_MS, []),
        // Nothing went out; but what a stop before a crash took down is still to be started.
        unlessUp: takenBack.length > 0 && takenBack.length === before.length,
      },
    );
    if (takenBack.length > 0)
      log.info(
        { event: 'unit_stop_taken_back', payload: effect.payload, units: takenBack.map(({ unit }) => unit) },
        'cancelled before systemd had the order: not stopped',
      );
    // Not `refused`: nobody was denied anything, there only was nobody who got it; so is nothing owed to it either.
    report(takenBack, 'no_process');
    await started;
  }

  function hurry(payloads: ReadonlySet<string>): void {
    const late = [...open].filter((each) => payloads.has(each.effect.payload.id) && isWanted(each) && !each.reported);
    if (late.length === 0) return;
    tellWhatStops(late.filter(({ phase }) => phase === 'asking'));
    warn(late, 'SIGKILL is due and systemd has not answered yet');
    fallBack(late);
  }

  function warn(stops: readonly WaitingStop[], why: string): void {
    const fields = { event: 'units_not_stopped', units: stops.map(({ unit }) => unit).slice(0, MAX_NAMED) };
    log.warn(fields, `not stopped through systemd, the processes are signalled directly: ${why}`);
  }

  function fallBack(stops: readonly WaitingStop[]): void {
    const left = stops.filter((each) => isWanted(each) && !each.reported);
    if (left.length === 0) return;
    for (const each of left) each.reported = true;
    submit({ type: 'steps_done', results: options.deliver(left.map(({ effect }) => effect)) });
  }

  function report(stops: readonly WaitingStop[], outcome: StepOutcome): void {
    const left = stops.filter(({ reported }) => !reported);
    if (left.length === 0) return;
    for (const each of left) each.reported = true;
    const at = options.now();
    const results = left.map(({ effect: { payload, step } }) => ({ id: payload.id, step, outcome, at }));
    for (const { step } of results) count('mjf_signals_total', { signal: step.signal, outcome });
    submit({ type: 'steps_done', results });
  }

  return { stop, hurry, start, close: starts.close };
}

const isWanted = ({ cancelled }: WaitingStop): boolean => !cancelled;

/** Names in one log line. */
const MAX_NAMED = 20;

const LATE: HandResult = { ok: false, code: 'timeout', detail: 'systemd has not taken the order in time' };
