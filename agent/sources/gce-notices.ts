/**
 * What the values of GCE's metadata announce (facts "platforms", GCE and "Kinds"). All functions throw a SourceError
 * `bad_value`, `bad_json` or `no_time` for what is no value of the key: such an answer neither clears nor announces anything.
 */
import type { Reading, StatedNotice } from '../lifetime/types.ts';
import { asList, asRecord, asText, parseJson } from './json.ts';
import { SourceError } from './source.ts';
import { parseInstant } from './times.ts';

/** What the platform does to this machine when its host is serviced (`scheduling/on-host-maintenance`). */
export type OnHostMaintenance = 'MIGRATE' | 'TERMINATE';

/** Spot and preemptible machines; a site may have bought 120 s, but the guest is not told. */
export const PREEMPTION_NOTICE_MS = 30_000;
/** An hour for machines with GPUs, which the guest is not told either. */
const MAINTENANCE_NOTICE_MS = 60_000;
/**
 * The graceful period may be as short as 1 s, but the guest's own shutdown comes after it, which lasts at least as long as
 * that of a preempted machine.
 */
export const SHORTEST_STOP_NOTICE_MS = 30_000;
/** Graceful periods are 1 s to 1 h: anything longer is no such period. */
const LONGEST_GRACEFUL_MS = 3_600_000;
const MAX_EXCERPT = 40;

const NEGATIVE = { is: 'negative' } as const;
const present = (value: StatedNotice): Reading<StatedNotice> => ({ is: 'present', value });

/** `TRUE`/`FALSE` of any key; emulators write them in JSON and in small letters too. */
export function readFlag(text: string, key: string): boolean {
  const word = bare(text);
  if (word === 'TRUE' || word === '1') return true;
  if (word === 'FALSE' || word === '0') return false;
  throw badValue(key, text);
}

/** `instance/preempted`. */
export const readPreempted = (text: string): Reading<StatedNotice> =>
  readFlag(text, 'preempted')
    ? present({
        kind: 'terminate',
        deadlineMs: null,
        minimumNoticeMs: PREEMPTION_NOTICE_MS,
        onlyEarlier: true,
        reason: 'preempted',
      })
    : NEGATIVE;

/** `instance/scheduling/on-host-maintenance`; undefined for a policy that we do not know. */
export function readOnHostMaintenance(text: string): OnHostMaintenance | undefined {
  const word = bare(text);
  if (word === 'MIGRATE' || word === 'TERMINATE') return word;
  if (/^[A-Z_]{1,40}$/.test(word)) return undefined;
  throw badValue('on-host-maintenance', text);
}

/**
 * `instance/maintenance-event`. The machine's setting decides what comes of a migration; a termination that is announced as
 * one is one.
 */
export function readMaintenanceEvent(text: string, onHost: OnHostMaintenance | undefined): Reading<StatedNotice> {
  const word = bare(text);
  if (word === 'NONE') return NEGATIVE;
  const [, verb] = /^(MIGRATE|TERMINATE|SHUTDOWN)_ON_HOST_MAINTENANCE$/.exec(word) ?? [];
  if (verb === undefined) throw badValue('maintenance-event', text);
  const kind = verb === 'MIGRATE' && onHost !== 'TERMINATE' ? 'migrate' : 'terminate';
  return present({
    kind,
    deadlineMs: null,
    minimumNoticeMs: MAINTENANCE_NOTICE_MS,
    reason: `host maintenance: ${kind}`,
  });
}

/** What stands beside `stop-state`, where the platform shows it: when the stop was asked for, and how long it may take. */
export interface StopDetails {
  readonly requestMs?: number;
  readonly gracefulMs?: number;
}

/** `instance/shutdown-details/stop-state`. */
export function readStopState(text: string, details: StopDetails): Reading<StatedNotice> {
  const word = bare(text);
  if (['UNSPECIFIED', 'STOP_STATE_UNSPECIFIED', 'NONE'].includes(word)) return NEGATIVE;
  if (!isStopping(text)) throw badValue('stop-state', text);
  const { requestMs, gracefulMs } = details;
  return present({
    kind: 'stop',
    deadlineMs: requestMs === undefined || gracefulMs === undefined ? null : requestMs + gracefulMs,
    minimumNoticeMs: gracefulMs ?? SHORTEST_STOP_NOTICE_MS,
    reason: 'graceful stop',
  });
}

export const isStopping = (text: string): boolean => ['PENDING_STOP', 'STOPPING'].includes(bare(text));

/**
 * `instance/shutdown-details/?recursive=true&alt=json`, by the names that the fields have in the platform's API
 * (`ResourceStatusShutdownDetails`). Nobody promises them to a guest: what is missing or strange is left out, such as a stop
 * that was asked for so long before `nowMs` that its period would be over.
 */
export function readStopDetails(text: string, nowMs: number): StopDetails {
  const fields = plainFields(parseJson(text, 'shutdown-details'));
  const saidMs = parseInstant(asText(fields.get('requesttimestamp')) ?? '');
  const requestMs = saidMs === undefined || Math.abs(nowMs - saidMs) > LONGEST_GRACEFUL_MS ? undefined : saidMs;
  const duration = fields.get('maxduration');
  const secs = asText(plainFields(duration).get('seconds')) ?? asText(duration)?.replace(/s$/, '') ?? '';
  const gracefulMs = /^\d{1,9}(\.\d{1,9})?$/.test(secs) ? Math.round(Number(secs) * 1000) : 0;
  return {
    ...(requestMs === undefined ? {} : { requestMs }),
    ...(gracefulMs > 0 && gracefulMs <= LONGEST_GRACEFUL_MS ? { gracefulMs } : {}),
  };
}

/** The next maintenance, or `negative`; undefined for a document that says neither. */
export function readUpcoming(text: string): { readonly startMs: number } | 'negative' | undefined {
  if (bare(text) === 'NONE') return 'negative';
  const document = parseJson(text, 'upcoming-maintenance');
  if (document === null || asList(document)?.length === 0) return 'negative';
  const outer = asRecord(document);
  if (outer === undefined) throw badValue('upcoming-maintenance', text);
  // "No notifications have been received yet", says the service shortly after start: that is no "none".
  if ('error' in outer) return undefined;
  const fields = plainFields(unwrapped(outer));
  if (fields.size === 0) return 'negative';
  if (/^(COMPLETED?|CANCELL?ED)$/.test(bare(asText(fields.get('maintenancestatus')) ?? ''))) return 'negative';
  const start = fields.get('windowstarttime') ?? fields.get('starttime');
  const startMs = typeof start === 'string' ? parseInstant(start) : undefined;
  if (startMs === undefined)
    throw new SourceError('no_time', 'upcoming-maintenance: no time at which its window starts');
  return { startMs };
}

/**
 * The notice of it. Without a known setting it is a termination: machines that can be moved are moved without a word, the
 * window is announced for those that cannot.
 */
export const upcomingNotice = (startMs: number, onHost: OnHostMaintenance | undefined): Reading<StatedNotice> =>
  present({
    kind: onHost === 'MIGRATE' ? 'migrate' : 'terminate',
    deadlineMs: startMs,
    reason: 'upcoming host maintenance',
  });

/** Documents are shown with a heading around them. */
function unwrapped(outer: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const [only, ...more] = Object.values(outer);
  return (more.length === 0 ? asRecord(only) : undefined) ?? outer;
}

/** `window_start_time`, `windowStartTime` and `window-start-time` are one name. */
function plainFields(value: unknown): ReadonlyMap<string, unknown> {
  return new Map(
    Object.entries(asRecord(value) ?? {}).map(([name, each]) => [name.toLowerCase().replace(/[_-]/g, ''), each]),
  );
}

/** Blanks and the quotes of JSON are no part of a word. */
const bare = (text: string): string =>
  text
    .trim()
    .replace(/^"(.*)"$/s, '$1')
    .toUpperCase();

const badValue = (key: string, text: string): SourceError =>
  new SourceError('bad_value', `${key} is ${JSON.stringify(text.slice(0, MAX_EXCERPT))}`);
