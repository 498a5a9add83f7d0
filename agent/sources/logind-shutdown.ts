/**
 * What logind says of the end of this machine, put together: its signal `PrepareForShutdown`, and its properties
 * `PreparingForShutdown`, `ScheduledShutdown` and `InhibitDelayMaxUSec` (org.freedesktop.login1(5)). No D-Bus here.
 */
import type { NoticeKind, Reading, StatedNotice } from '../lifetime/types.ts';
import { SourceError } from './source.ts';

export interface ShutdownPicture {
  /** The signal: a shutdown begins or is called off. `type` where logind names it (`PrepareForShutdownWithMetadata`). */
  announced(active: boolean, type?: string): void;
  /** `PreparingForShutdown`. @throws SourceError `dbus_bad_value` */
  preparingIs(value: unknown): void;
  /** `ScheduledShutdown`: type and µs since 1970; undefined where this logind does not know the property. */
  scheduledIs(value: unknown): void;
  /** `InhibitDelayMaxUSec`; what is no number is not taken. */
  delayMaxIs(value: unknown): void;
  /** Another logind, or another connection: signals may have been missed, so that from here its first answer decides. */
  startOver(): void;
  /** A signal has come that no answer has told of yet: it counts even if logind cannot be asked any more. */
  owesAnnouncement(): boolean;
  reading(): Reading<StatedNotice>;
}

/** logind.conf(5), InhibitDelayMaxSec. */
const DEFAULT_DELAY_MAX_MS = 5_000;
/** Where logind would wait for ever: as long as systemd lets a shutdown hang before it forces it (poweroff.target). */
const ENDLESS_DELAY_MS = 30 * 60_000;
/** systemd's "infinity" is 2^64 − 1 and has lost its last digits as a number. */
const ENDLESS_USEC = 2 ** 63;
/** A scheduled shutdown announces itself a moment after its time; what lies longer back was another one. */
const SAME_SHUTDOWN_MS = 60_000;

/** Done by the time of the next one, also long before its latest time; nor does logind remember what was scheduled. */
const OF_THIS_BOOT = { thisBoot: true } as const;

interface Preparing {
  readonly sinceMs: number;
  type: string | undefined;
  deadlineMs?: number;
}
/** `atMs: null`: at once, or at no time. */
type Scheduled = { readonly type: string; readonly atMs: number | null } | 'none' | 'bad';

/** `guardMs`: how long a shutdown waits for the payloads after logind has let it go on (logind-guard.ts). */
export function createShutdownPicture(
  nowMs: () => number = Date.now,
  guardMs: () => number = () => 0,
): ShutdownPicture {
  let preparing: Preparing | undefined;
  let scheduled: Scheduled = 'none';
  let delayMaxMs = DEFAULT_DELAY_MAX_MS;
  let lastProperty: boolean | undefined;
  let heard = false;
  let owes = false;

  function prepare(active: boolean, type?: string): void {
    if (!active) preparing = undefined;
    else if (preparing === undefined) preparing = { sinceMs: nowMs(), type };
    else preparing.type = type ?? preparing.type;
  }

  /** The instant is fixed once, so that no poll moves it. */
  function deadlineOf(current: Preparing): number {
    if (current.deadlineMs === undefined) {
      const latestMs = current.sinceMs + delayMaxMs + guardMs();
      current.deadlineMs = belongsTo(scheduled, current) ? Math.min(scheduled.atMs ?? latestMs, latestMs) : latestMs;
    }
    return current.deadlineMs;
  }

  return {
    announced(active, type) {
      heard = true;
      owes = true;
      prepare(active, type);
    },
    preparingIs(value) {
      if (typeof value !== 'boolean') throw new SourceError('dbus_bad_value', 'PreparingForShutdown is not a boolean');
      // Only its changes count: what a signal said since stands until the property, too, says something new.
      if (lastProperty === undefined ? !heard : value !== lastProperty) prepare(value);
      lastProperty = value;
    },
    scheduledIs(value) {
      scheduled = scheduledOf(value);
    },
    delayMaxIs(value) {
      if (typeof value !== 'number' || !(value >= 0)) return;
      delayMaxMs = value >= ENDLESS_USEC ? ENDLESS_DELAY_MS : Math.floor(value / 1000);
    },
    startOver() {
      lastProperty = undefined;
      heard = false;
    },
    owesAnnouncement: () => owes,
    reading() {
      owes = false;
      if (preparing !== undefined) {
        const deadlineMs = deadlineOf(preparing);
        if (belongsTo(scheduled, preparing)) preparing.type ??= scheduled.type;
        const value = {
          kind: kindOf(preparing.type),
          deadlineMs,
          reason: `${nameOf(preparing.type)} requested`,
          // An agent that was restarted meanwhile does not know when it began, and would count from its own start.
          onlyEarlier: true,
          ...OF_THIS_BOOT,
        };
        return { is: 'present', value };
      }
      if (scheduled === 'bad') return { is: 'unknown', error: 'dbus_bad_value' };
      if (scheduled === 'none' || scheduled.atMs === null) return { is: 'negative' };
      const { type, atMs } = scheduled;
      return {
        is: 'present',
        value: { kind: kindOf(type), deadlineMs: atMs, reason: `${nameOf(type)} scheduled`, ...OF_THIS_BOOT },
      };
    },
  };
}

/** Whether what is going on is what was scheduled: `shutdown now` is scheduled for the time 0. */
function belongsTo(scheduled: Scheduled, { sinceMs }: Preparing): scheduled is Exclude<Scheduled, string> {
  if (scheduled === 'none' || scheduled === 'bad') return false;
  return scheduled.atMs === null || Math.abs(scheduled.atMs - sinceMs) <= SAME_SHUTDOWN_MS;
}

function scheduledOf(value: unknown): Scheduled {
  if (value === undefined) return 'none';
  const [type, usec]: readonly unknown[] = Array.isArray(value) ? value : [];
  if (typeof type !== 'string' || typeof usec !== 'number' || !(usec >= 0)) return 'bad';
  // `shutdown -k` only warns, as far as logind says so.
  if (type === '' || type.startsWith('dry-')) return 'none';
  return { type, atMs: usec === 0 || usec >= ENDLESS_USEC ? null : Math.floor(usec / 1000) };
}

/** Everything that starts anew, be it only the kernel or the user space. */
const REBOOTS = new Set(['reboot', 'kexec', 'soft-reboot']);
const kindOf = (type: string | undefined): NoticeKind =>
  type !== undefined && REBOOTS.has(type) ? 'reboot' : 'shutdown';

/** The type for people; what is no name of one is not passed on. */
const nameOf = (type: string | undefined): string =>
  type !== undefined && /^[a-z][a-z-]{0,19}$/.test(type) ? type : 'shutdown';
