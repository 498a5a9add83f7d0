/** A stop on its way through systemd: from its arrival until its outcome is known, which takes up to 5 s. */
import type { SignalEffect } from './delivery.ts';
import type { StopForecast } from './unit-forecast.ts';
import type { UnitsNow } from './units.ts';

export interface WaitingStop {
  readonly effect: SignalEffect;
  readonly unit: string;
  /** Of an earlier start of this payload, what was not up yet when the stop arrived. */
  readonly gaveUp: readonly string[];
  /** What would it take down? → known → systemd has been given the order, which cannot be called back. */
  phase: 'asking' | 'known' | 'ordered';
  /** undefined: systemd did not say. */
  forecast: StopForecast | undefined;
  /** Its step has its outcome: nothing more is signalled or reported. An order to systemd may still follow. */
  reported: boolean;
  /** A start has come after it: whatever has not gone out stays undone. */
  cancelled: boolean;
}

export function waitingStop(effect: SignalEffect, gaveUp: readonly string[]): WaitingStop {
  const rest = { phase: 'asking', forecast: undefined, reported: false, cancelled: false } as const;
  return { effect, unit: unitOf(effect), gaveUp, ...rest };
}

/** `refused`: left alone. `idle`, `direct`: to the processes. `order`: through systemd. */
export type Lane = 'refused' | 'idle' | 'direct' | 'order';

export function laneOf({ forecast }: WaitingStop, systemdRuns: boolean): Lane {
  if (!systemdRuns) return 'direct';
  // Silent now, it may all the same take the order.
  if (forecast === undefined) return 'order';
  if (forecast.is === 'running') return forecast.canStop ? 'order' : 'direct';
  // Not running for systemd: what it left behind in its control group still has its warning to get.
  return forecast.is;
}

/** What has to be started again on cancel. Where systemd did not say, a service is taken for running; of a slice nobody knows. */
export function toStartAgain({ unit, forecast, gaveUp }: WaitingStop): readonly string[] {
  const unknown = unit.endsWith('.service') ? [unit] : [];
  const again = forecast === undefined ? unknown : forecast.is === 'running' ? forecast.startAgain : [];
  return [...new Set([...gaveUp, ...again])];
}

/** Of an order that failed, whether systemd stops this one all the same. `now` null: it does not say. */
export function isTaken({ unit, forecast }: WaitingStop, now: UnitsNow | null): boolean {
  const row = now?.row(unit);
  if (now === null || row === undefined) return false;
  if (now.job(row) === 'stop' || row.active === 'deactivating') return true;
  return forecast?.is === 'running' && (row.active === 'inactive' || row.active === 'failed');
}

/** `deliver` takes all kinds; so does the type. */
function unitOf({ payload }: SignalEffect): string {
  return payload.target.kind === 'unit' ? payload.target.unit : '';
}

/** Whatever comes later is not waited for, its failure included. */
export async function within<T>(promise: Promise<T>, ms: number, late: T): Promise<T> {
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
