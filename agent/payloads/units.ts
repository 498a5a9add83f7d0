/**
 * systemd's units as payloads: what they are, stopped and started through systemd (SYSTEMS.md, "systemd"). Asked by
 * `systemctl show`, one child for many units; changed by the hand, which has the right to.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { Logger } from 'pino';
import type { Hand, HandResult } from '../hand/hand.ts';
import { systemctl } from './systemctl.ts';
import { forecast, infoOf, ROOT_SLICE, type StopForecast, type Survey } from './unit-forecast.ts';
import { unitNameProblem, unitsAbove } from './unit-names.ts';
import { JOBS_ARGS, parseJobs, parseShow, SHOW_ARGS, type UnitRow } from './unit-rows.ts';

export interface UnitInfo {
  /** As systemd names it (aliases resolved). */
  readonly unit: string;
  /** Neither inactive nor failed: also while it starts, stops or waits for its restart. */
  readonly active: boolean;
  /** Below the root of cgroup v2; where it will be when it is not running. */
  readonly cgroup: string;
  /** TimeoutStopSec; null = infinity, or it has none (a slice). */
  readonly stopTimeoutMs: number | null;
}

export interface Units {
  /** Whether the machine was booted with systemd (sd_booted(3)). */
  available(): boolean;
  /**
   * By the names asked; null: systemd does not know it, cannot be asked (logged), or it may not be a payload
   * (`unitNameProblem`, or the agent would go down with it). Never rejects.
   */
  describe(names: readonly string[]): Promise<ReadonlyMap<string, UnitInfo | null>>;
  /** What would have to be started again after a stop of this slice, service or scope; empty where nothing is known. */
  membersOf(unit: string): Promise<readonly string[]>;
  /** null: systemd gives no answer (logged). One or few children for all; ended with `timeoutMs`. */
  foresee(names: readonly string[], timeoutMs: number): Promise<ReadonlyMap<string, StopForecast> | null>;
  /** As they are now; null: no answer. */
  look(names: readonly string[], timeoutMs: number): Promise<UnitsNow | null>;
  /** Until systemd has taken the jobs (`--no-block`). */
  stop(units: readonly string[]): Promise<HandResult>;
  start(units: readonly string[]): Promise<HandResult>;
}

export interface UnitsNow {
  row(name: string): UnitRow | undefined;
  /** Type of the unit's job: `start`, `stop`, `restart`, …; undefined = none. */
  job(row: UnitRow): string | undefined;
}

export interface UnitsOptions {
  readonly hand: Pick<Hand, 'units'>;
  /** PATH and the bus's address for systemctl. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  /** Where `/proc` and `/run` begin; `/` is the default. */
  readonly root?: string;
}

/** Describing is no hurry, but a registration waits for it. A busy machine at boot needs a second. */
const DESCRIBE_TIMEOUT_MS = 3_000;
/** Of one child: 64 slices of a hundred members stay below its bound of output. */
const MAX_AT_ONCE = 64;
/** Chains of dependence are short; what is longer is a circle or a mistake. */
const MAX_DEPTH = 8;
/** All that the stops of one tick take down. What is more is stopped all the same; started again are these. */
const MAX_REACH = 512;
/** At each moment, so that registrations cannot fill the machine with children. */
const MAX_DESCRIBERS = 2;

export function openUnits({ hand, env, log, root = '/' }: UnitsOptions): Units {
  const enter = turnstile(MAX_DESCRIBERS);
  /** One line for a condition, however often it is met. */
  let told: string | null = null;

  const available = (): boolean => isDirectory(path.join(root, 'run/systemd/system'));

  /** Rows by every name; null where systemd does not answer in time. */
  async function show(names: readonly string[], endMs: number): Promise<ReadonlyMap<string, UnitRow> | null> {
    const rows = new Map<string, UnitRow>();
    for (let at = 0; at < names.length; at += MAX_AT_ONCE) {
      const some = names.slice(at, at + MAX_AT_ONCE);
      const result = await systemctl([...SHOW_ARGS, ...some], {
        env,
        timeoutMs: Math.max(1, endMs - performance.now()),
      });
      for (const [name, row] of parseShow(result.stdout)) rows.set(name, row);
      // A single name that it dislikes makes it fail after it has shown all the others.
      const enough = result.ok || (result.code === 'failed' && some.some((name) => rows.has(name)));
      tell(enough ? null : result.ok ? null : `${result.code}: ${result.detail}`);
      if (!enough) return null;
    }
    return rows;
  }

  function tell(condition: string | null): void {
    if (condition === told) return;
    told = condition;
    if (condition === null) log.info({ event: 'systemd_answers' }, 'systemd answers again');
    else log.warn({ event: 'systemd_silent' }, `systemd cannot be asked about units: ${condition}`);
  }

  /** The rows of `names` and of all that a stop of them takes down. */
  async function survey(names: readonly string[], endMs: number): Promise<Survey | null> {
    let ask: readonly string[] = [ROOT_SLICE, ...names];
    const rows = new Map<string, UnitRow>();
    for (let depth = 0; depth < MAX_DEPTH && ask.length > 0; depth += 1) {
      const found = await show(ask, endMs);
      if (found === null) return null;
      for (const [name, row] of found) rows.set(name, row);
      const below = ask.flatMap((name) => (name === ROOT_SLICE ? [] : (rows.get(name)?.takesDown ?? [])));
      ask = [...new Set(below)]
        .filter((name) => !rows.has(name))
        .slice(0, Math.max(0, MAX_REACH + names.length - rows.size));
    }
    return { rows, own: unitsAbove(readText(path.join(root, 'proc/self/cgroup'))) };
  }

  async function jobs(rows: Iterable<UnitRow>, endMs: number): Promise<ReadonlyMap<string, string>> {
    if (![...rows].some(({ job }) => job !== null)) return new Map();
    const result = await systemctl(JOBS_ARGS, { env, timeoutMs: Math.max(1, endMs - performance.now()) });
    return parseJobs(result.stdout);
  }

  async function foresee(names: readonly string[], timeoutMs: number) {
    const endMs = performance.now() + timeoutMs;
    const asked = names.filter((name) => unitNameProblem(name) === null);
    const seen = await survey(asked, endMs);
    if (seen === null) return null;
    const queue = await jobs(seen.rows.values(), endMs);
    return new Map(names.map((name) => [name, forecast(name, seen, queue)]));
  }

  async function describe(names: readonly string[]): Promise<ReadonlyMap<string, UnitInfo | null>> {
    const asked = available() ? names.filter((name) => unitNameProblem(name) === null) : [];
    if (asked.length === 0) return new Map(names.map((name) => [name, null]));
    const leave = await enter();
    try {
      const seen = await survey(asked, performance.now() + DESCRIBE_TIMEOUT_MS);
      return new Map(names.map((name) => [name, seen === null ? null : infoOf(name, seen)]));
    } finally {
      leave();
    }
  }

  return {
    available,
    describe,
    async membersOf(unit) {
      const found = (await foresee([unit], DESCRIBE_TIMEOUT_MS))?.get(unit);
      return found?.is === 'running' ? found.startAgain : [];
    },
    foresee,
    async look(names, timeoutMs) {
      const endMs = performance.now() + timeoutMs;
      const rows = await show(names, endMs);
      if (rows === null) return null;
      const queue = await jobs(rows.values(), endMs);
      return { row: (name) => rows.get(name), job: ({ job }) => (job === null ? undefined : queue.get(job)) };
    },
    stop: (units) => hand.units('stop', units),
    start: (units) => hand.units('start', units),
  };
}

/** At most so many within; the others wait for their turn. */
function turnstile(most: number): () => Promise<() => void> {
  const waiting: (() => void)[] = [];
  let within = 0;
  return async () => {
    if (within >= most) await new Promise<void>((resolve) => waiting.push(resolve));
    else within += 1;
    return () => {
      const next = waiting.shift();
      if (next === undefined) within -= 1;
      else next();
    };
  };
}

function isDirectory(file: string): boolean {
  try {
    return fs.statSync(file).isDirectory();
  } catch {
    return false;
  }
}

function readText(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
