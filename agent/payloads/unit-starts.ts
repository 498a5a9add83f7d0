/** Starts again what a stop took down that was then cancelled (SEMANTICS S3.6): order, attempts, and their end. */
import type { Logger } from 'pino';
import type { HandResult } from '../hand/hand.ts';
import type { Effect, Input } from '../lifetime/types.ts';
import { pause as waitOut } from '../pause.ts';
import { startOrder } from './unit-names.ts';
import type { UnitRow } from './unit-rows.ts';
import type { Units, UnitsNow } from './units.ts';

export type StartEffect = Extract<Effect, { readonly type: 'start_units' }>;

export interface UnitStarts {
  /** Ends with `units_started`, unless the agent ends before. Never rejects. */
  start(effect: StartEffect, conditions: StartConditions): Promise<void>;
  /**
   * These are being stopped: they are taken out of all that is still to be started, and all of this payload's. Gives what
   * of its own was not up yet.
   */
  giveUp(payload: string, stopping: ReadonlySet<string>): readonly string[];
  /** When no order to start is on its way to systemd. */
  settled(): Promise<void>;
  close(): void;
}

export interface StartConditions {
  /** Orders to stop that came before it; bounded, never rejects. */
  readonly after: Promise<unknown>;
  /** No order for what runs: it was not stopped. */
  readonly unlessUp: boolean;
}

export interface UnitStartsOptions {
  readonly units: Pick<Units, 'available' | 'look' | 'start'>;
  submit(input: Input): void;
  readonly log: Logger;
  readonly pause?: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** After each attempt but the last. Together a minute: longer than systemd's own limit of starts (10 s) holds a unit back. */
const DELAYS_MS = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000] as const;
/** After an order was taken, until its units are looked at: what cannot be started has mostly failed by then. */
const SETTLE_MS = 1_000;
const LOOK_TIMEOUT_MS = 3_000;
/**
 * How often what goes down is looked at, and how many times: four minutes, since the heart takes a start that is not
 * answered within five for failed. A stop that lasts even longer then leaves the start to systemd's queue.
 */
const WAIT_MS = 2_000;
const MAX_WAITS = 120;
const MAX_NAMED = 20;

interface Pending {
  readonly payload: string;
  /** Shrinks: what is up, and what is given up. */
  readonly wanted: Set<string>;
  readonly up: string[];
  readonly stop: AbortController;
}

export function openUnitStarts({ units, submit, log, pause = waitOut }: UnitStartsOptions): UnitStarts {
  const pending = new Set<Pending>();
  const orders = new Set<Promise<unknown>>();
  let closed = false;

  async function start({ payload, units: names }: StartEffect, conditions: StartConditions): Promise<void> {
    if (closed) return;
    const mine: Pending = { payload, wanted: new Set(startOrder(names)), up: [], stop: new AbortController() };
    pending.add(mine);
    const why = units.available() ? await pursue(mine, conditions) : 'systemd does not run on this machine';
    pending.delete(mine);
    // The next agent finds the wish in its journal.
    if (closed) return;
    if (mine.stop.signal.aborted) {
      log.info({ event: 'units_start_given_up', payload }, 'to be stopped again, not started');
      // A newer one answers for both: the heart must not take that for ended.
      if ([...pending].some((each) => each.payload === payload)) return;
    } else if (mine.wanted.size > 0)
      log.error(
        { event: 'units_not_started', payload, units: [...mine.wanted].slice(0, MAX_NAMED) },
        `not started again after the stop was cancelled: ${why}`,
      );
    else if (mine.up.length > 0)
      log.info(
        { event: 'units_started', payload, units: mine.up.slice(0, MAX_NAMED) },
        'started again after the stop was cancelled',
      );
    submit({ type: 'units_started', id: payload });
  }

  /** Until nothing is wanted any more or the attempts are used up; gives the reason of what went wrong last. */
  async function pursue(mine: Pending, { after, unlessUp }: StartConditions): Promise<string> {
    let why = 'it fails';
    await after;
    if (mine.stop.signal.aborted) return why;
    if (unlessUp) await dropThoseUp(mine);
    const tries = new Map<string, number>();
    const triesOf = (unit: string): number => tries.get(unit) ?? 0;
    for (let waits = 0, delayMs = 0; ; ) {
      await pause(delayMs * (0.75 + Math.random() / 2), mine.stop.signal);
      const open = [...mine.wanted].filter((unit) => triesOf(unit) <= DELAYS_MS.length);
      const ready = waits < MAX_WAITS ? await withoutThoseGoingDown(open) : open;
      if (open.length === 0 || mine.stop.signal.aborted) return why;
      if (ready.length === 0) {
        waits += 1;
        delayMs = WAIT_MS;
        continue;
      }
      why = (await attempt(mine, ready)) ?? why;
      for (const unit of ready) tries.set(unit, triesOf(unit) + 1);
      delayMs = DELAYS_MS[Math.max(...ready.map(triesOf)) - 1] ?? 0;
    }
  }

  async function dropThoseUp({ wanted }: Pending): Promise<void> {
    const now = await units.look([...wanted], LOOK_TIMEOUT_MS);
    for (const unit of wanted) {
      const row = now?.row(unit);
      if (row !== undefined && isUp(row) && now?.job(row) !== 'stop') wanted.delete(unit);
    }
  }

  /**
   * What still goes down is waited for. systemd would take a start already now, but tries it again and again until the unit
   * is down, and counts each try: in the end it does not start at all ("start-limit-hit", seen with 252).
   */
  async function withoutThoseGoingDown(names: readonly string[]): Promise<readonly string[]> {
    if (names.length === 0) return names;
    const now = await units.look(names, LOOK_TIMEOUT_MS);
    return names.filter((unit) => now?.row(unit)?.active !== 'deactivating');
  }

  /** Takes out of `wanted` what needs no further attempt; gives the reason of what went wrong. */
  async function attempt(mine: Pending, ready: readonly string[]): Promise<string | null> {
    const result = await order(ready);
    const refused = new Set<string>();
    // One that the root hand does not know spoils the order for all of them.
    if (!result.ok && result.code === 'refused')
      for (const unit of ready) {
        if (mine.stop.signal.aborted) break;
        const single = ready.length === 1 ? result : await order([unit]);
        if (!single.ok && single.code === 'refused') refused.add(unit);
      }
    await pause(SETTLE_MS, mine.stop.signal);
    const now = await units.look(ready, LOOK_TIMEOUT_MS);
    const hopeless: string[] = [];
    for (const unit of ready) {
      // Meanwhile given up.
      if (!mine.wanted.has(unit)) continue;
      const fate = fateOf(unit, now, result);
      if (fate === 'again' && !refused.has(unit)) continue;
      mine.wanted.delete(unit);
      if (fate === 'up') mine.up.push(unit);
      else hopeless.push(unit);
    }
    if (hopeless.length > 0)
      log.error(
        { event: 'units_not_startable', payload: mine.payload, units: hopeless.slice(0, MAX_NAMED) },
        `cannot be started again: ${result.ok ? 'masked, or unknown to systemd by now' : result.detail}`,
      );
    return result.ok ? null : `${result.code}: ${result.detail}`;
  }

  function order(names: readonly string[]): Promise<HandResult> {
    const result = units
      .start(names)
      .catch((error: unknown): HandResult => ({ ok: false, code: 'failed', detail: String(error) }));
    orders.add(result);
    void result.then(() => orders.delete(result));
    return result;
  }

  return {
    start,
    giveUp(payload, stopping) {
      const left: string[] = [];
      for (const each of pending) {
        if (each.payload === payload) {
          left.push(...each.wanted);
          each.stop.abort();
        } else for (const unit of stopping) each.wanted.delete(unit);
      }
      return left;
    },
    async settled() {
      await Promise.all(orders);
    },
    close() {
      closed = true;
      for (const { stop } of pending) stop.abort();
    },
  };
}

/** `up` also where systemd itself will start it: a stop that still goes on ends first. */
function fateOf(unit: string, now: UnitsNow | null, ordered: HandResult): 'up' | 'again' | 'hopeless' {
  if (now === null) return ordered.ok ? 'up' : 'again';
  const row = now.row(unit);
  if (row === undefined) return ordered.ok ? 'up' : 'again';
  const job = now.job(row);
  if (job !== undefined && job !== 'stop') return 'up';
  if (isUp(row)) return 'up';
  if (!row.canStart) return 'hopeless';
  // A job of a moment has run and ended well; a socket whose service was up before it cannot be mended by trying.
  return ordered.ok && row.active === 'inactive' && row.result === 'success' ? 'up' : 'again';
}

const isUp = ({ active }: UnitRow): boolean => active === 'active' || active === 'reloading' || active === 'activating';
