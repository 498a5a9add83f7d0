/**
 * A unit's stop signal is systemd's StopUnit: its ExecStop runs, it does not come back, and what depends on it goes too. Told
 * before it is done is what has to be started again when the host cancels (SEMANTICS S3.6). Where systemd does not take the
 * order, the processes get their SIGTERM from us: no payload loses its warning. Every wait is bounded.
 */
import type { Logger } from 'pino';
import type { HandResult } from '../hand/hand.ts';
import type { Input, Instant, StepOutcome, StepResultReport } from '../lifetime/types.ts';
import type { SignalEffect } from './delivery.ts';
import type { StopForecast } from './unit-forecast.ts';
import { openUnitStarts, type StartEffect, type UnitStarts } from './unit-starts.ts';
import type { Units } from './units.ts';

export interface UnitSteps {
  /**
   * Carries out the stop signals of one tick, each with a unit as its target; one order to systemd for all. Ends with
   * `steps_done`, after 5 s at the latest. Never rejects.
   */
  stop(effects: readonly SignalEffect[]): Promise<void>;
  /** Starts again what a cancelled stop took down, trying for a minute. Ends with `units_started`. Never rejects. */
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

/** One effect and what is known of its unit. */
interface Order {
  readonly effect: SignalEffect;
  readonly unit: string;
  /** undefined: systemd did not say. */
  readonly forecast: StopForecast | undefined;
}

type Lane = 'refused' | 'idle' | 'direct' | 'order';

export function openUnitSteps(options: UnitStepsOptions): UnitSteps {
  const { units, submit, log, count } = options;
  const bounds = { ...BOUNDS, ...options.bounds };
  const starts: UnitStarts = openUnitStarts(options);

  async function stop(effects: readonly SignalEffect[]): Promise<void> {
    const orders = await foresee(effects);
    tellWhatStops(orders);
    const inLane = (lane: Lane): readonly Order[] => orders.filter((each) => laneOf(each) === lane);
    const [refused, idle, direct, order] = [inLane('refused'), inLane('idle'), inLane('direct'), inLane('order')];
    for (const { effect, forecast } of refused) {
      const why = forecast?.is === 'refused' ? forecast.reason : '';
      log.error({ event: 'unit_refused', payload: effect.payload.id }, `a unit is not stopped: ${why}`);
    }
    report(refused.map(({ effect }) => done(effect, 'refused')));
    // First: these need not wait for systemd.
    fallBack(idle);
    if (direct.length > 0) warn(direct, units.available() ? 'RefuseManualStop=yes' : 'systemd does not run here');
    fallBack(direct);
    if (order.length > 0) await stopThrough(order);
  }

  async function foresee(effects: readonly SignalEffect[]): Promise<readonly Order[]> {
    const named = effects.map((effect) => ({ effect, unit: unitOf(effect) }));
    const forecasts = units.available()
      ? await units.foresee([...new Set(named.map(({ unit }) => unit))], bounds.foreseeMs)
      : null;
    return named.map(({ effect, unit }) => ({ effect, unit, forecast: forecasts?.get(unit) }));
  }

  function laneOf({ forecast }: Order): Lane {
    if (!units.available()) return 'direct';
    // Silent now, it may all the same take the order.
    if (forecast === undefined) return 'order';
    if (forecast.is === 'running') return forecast.canStop ? 'order' : 'direct';
    // Not running for systemd: what it left behind in its control group still has its warning to get.
    return forecast.is;
  }

  /** Before anything is stopped, so that a crash in between cannot lose it. */
  function tellWhatStops(orders: readonly Order[]): void {
    const inputs = orders.flatMap(({ effect, unit, forecast }): readonly Input[] => {
      const { id } = effect.payload;
      // What we were still about to start belongs to it too, though it does not run at this moment.
      const waiting = starts.giveUp(id, new Set([unit, ...(forecast?.is === 'running' ? forecast.startAgain : [])]));
      if (forecast?.is === 'refused') return [];
      if (forecast?.is === 'running' && forecast.lost.length > 0)
        log.info(
          { event: 'units_lost', payload: id, units: forecast.lost.slice(0, MAX_NAMED) },
          'stopped with their unit, these cannot be started again: they were made at run time',
        );
      // Where systemd did not say, a service is taken for running; of a slice nobody knows what runs in it.
      const unknown = unit.endsWith('.service') ? [unit] : [];
      const again = forecast === undefined ? unknown : forecast.is === 'running' ? forecast.startAgain : [];
      return [{ type: 'units_stopping', id, units: [...new Set([...waiting, ...again])] }];
    });
    if (inputs.length > 0) submit({ type: 'together', inputs });
  }

  async function stopThrough(orders: readonly Order[]): Promise<void> {
    const names = [...new Set(orders.map(({ unit }) => unit))];
    await within(starts.settled(), bounds.orderMs, undefined);
    const result = await within(units.stop(names), bounds.stopMs, LATE);
    const taken = result.ok ? new Set(names) : await takenAllTheSame(orders);
    const through = orders.filter(({ unit }) => taken.has(unit));
    const rest = orders.filter(({ unit }) => !taken.has(unit));
    if (through.length > 0) {
      const fields = { event: 'units_stopped', units: [...taken].slice(0, MAX_NAMED) };
      log.info(fields, `systemd stops ${taken.size} unit${taken.size === 1 ? '' : 's'}`);
    }
    report(through.map(({ effect }) => done(effect, 'delivered')));
    if (!result.ok && rest.length > 0) warn(rest, `${result.code}: ${result.detail}`);
    fallBack(rest);
  }

  /** An order for many fails when one of them is refused: the others are being stopped. */
  async function takenAllTheSame(orders: readonly Order[]): Promise<ReadonlySet<string>> {
    const now = await within(
      units.look([...new Set(orders.map(({ unit }) => unit))], bounds.lookMs),
      bounds.lookMs,
      null,
    );
    const isTaken = ({ unit, forecast }: Order): boolean => {
      const row = now?.row(unit);
      if (now === null || row === undefined) return false;
      if (now.job(row) === 'stop' || row.active === 'deactivating') return true;
      return forecast?.is === 'running' && (row.active === 'inactive' || row.active === 'failed');
    };
    return new Set(orders.filter(isTaken).map(({ unit }) => unit));
  }

  function warn(orders: readonly Order[], why: string): void {
    const fields = { event: 'units_not_stopped', units: orders.map(({ unit }) => unit).slice(0, MAX_NAMED) };
    log.warn(fields, `not stopped through systemd, the processes are signalled directly: ${why}`);
  }

  function fallBack(orders: readonly Order[]): void {
    if (orders.length === 0) return;
    submit({ type: 'steps_done', results: options.deliver(orders.map(({ effect }) => effect)) });
  }

  const done = ({ payload, step }: SignalEffect, outcome: StepOutcome): StepResultReport => ({
    id: payload.id,
    step,
    outcome,
    at: options.now(),
  });

  function report(results: readonly StepResultReport[]): void {
    if (results.length === 0) return;
    for (const { step, outcome } of results) count('mjf_signals_total', { signal: step.signal, outcome });
    submit({ type: 'steps_done', results });
  }

  return { stop, start: starts.start, close: starts.close };
}

/** Names in one log line. */
const MAX_NAMED = 20;

const LATE: HandResult = { ok: false, code: 'timeout', detail: 'systemd has not taken the order in time' };

/** `deliver` takes all kinds; so does the type. */
function unitOf({ payload }: SignalEffect): string {
  return payload.target.kind === 'unit' ? payload.target.unit : '';
}

/** Whatever comes later is not waited for, its failure included. */
async function within<T>(promise: Promise<T>, ms: number, late: T): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const bound = new Promise<T>((resolve) => {
    timer = setTimeout(() => resolve(late), ms);
  });
  try {
    return await Promise.race([promise.catch(() => late), bound]);
  } finally {
    clearTimeout(timer);
  }
}
