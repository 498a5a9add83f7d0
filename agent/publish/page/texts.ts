/** Times, durations and states in words. Pure; `zone` is for tests, the browser's own otherwise. */
import { formatDuration } from '../../duration.ts';
import { escapeLine } from '../../escape.ts';

export const PHASE_WORDS: Readonly<Record<string, string>> = {
  running: 'take work as usual',
  draining: 'take no new work',
  stopping: 'payloads are being stopped',
  stopped: 'nothing is left to do',
};
/** Told apart without colour. */
export const PHASE_SIGNS: Readonly<Record<string, string>> = {
  running: '●',
  draining: '◐',
  stopping: '▼',
  stopped: '■',
};

export interface CountPart {
  readonly number: string;
  readonly unit: string;
}

/** `1 h 05 min 09 s`, `2 d 03 h 04 min`, `9 s`: what a large countdown is made of. Whole seconds, rounded down. */
export function countdown(remainingMs: number): readonly CountPart[] {
  const secs = Math.max(0, Math.floor(remainingMs / 1000));
  const parts = [
    { amount: Math.floor(secs / 86_400), unit: 'd' },
    { amount: Math.floor(secs / 3_600) % 24, unit: 'h' },
    { amount: Math.floor(secs / 60) % 60, unit: 'min' },
    { amount: secs % 60, unit: 's' },
  ];
  const first = parts.findIndex(({ amount }) => amount > 0);
  return (first < 0 ? parts.slice(-1) : parts.slice(first, first + 3)).map(({ amount, unit }, index) => ({
    number: index === 0 ? String(amount) : String(amount).padStart(2, '0'),
    unit,
  }));
}

export const countdownText = (remainingMs: number): string =>
  countdown(remainingMs)
    .map(({ number, unit }) => `${Number(number)} ${unit}`)
    .join(' ');

/** In a tab: whole minutes, of which none are named that are zero, until the seconds matter. */
export function tabText(remainingMs: number): string {
  if (remainingMs < 120_000) return countdownText(remainingMs);
  return countdown(Math.ceil(remainingMs / 60_000) * 60_000)
    .filter(({ number, unit }) => unit !== 's' && Number(number) > 0)
    .map(({ number, unit }) => `${Number(number)} ${unit}`)
    .join(' ');
}

/** Which sources give no answer now, so that a value of theirs may be old; null: all answer. */
export function doubtText(sources: readonly { readonly name: string; readonly state: string }[]): string | null {
  const silent = sources.filter(({ state }) => state === 'failed' || state === 'stale');
  if (silent.length === 0) return null;
  const named = silent.slice(0, MOST_NAMED).map(({ name, state }) => `${shown(name, 40)} ${state}`);
  const more = silent.length - named.length;
  const here = sources.filter(({ state }) => state !== 'absent').length;
  return `${silent.length} of ${counted(here, 'source')} without an answer: ${named.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}
const MOST_NAMED = 3;

/** `in 5 min`, `2 h ago`; whole seconds. */
export function distance(atSecs: number, nowMs: number): string {
  const ms = Math.round(atSecs - nowMs / 1000) * 1000;
  if (ms === 0) return 'now';
  return ms > 0 ? `in ${formatDuration(ms)}` : `${formatDuration(-ms)} ago`;
}

/** `16:40:05` on the day of `nowMs`, else `24 Nov 16:40:05`, with the year where it is another. */
export function instant(atSecs: number, nowMs: number, zone?: string): string {
  const at = new Date(atSecs * 1000);
  // Times that no calendar has are shown as the number they are.
  if (Number.isNaN(at.getTime())) return String(atSecs);
  const format = (options: Intl.DateTimeFormatOptions, when: Date): string =>
    new Intl.DateTimeFormat('en-GB', { ...options, ...(zone !== undefined && { timeZone: zone }) }).format(when);
  const year: Intl.DateTimeFormatOptions = { year: 'numeric' };
  const day: Intl.DateTimeFormatOptions = { day: 'numeric', month: 'short' };
  const now = new Date(nowMs);
  const clock = format({ hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' }, at);
  if (format({ ...day, ...year }, at) === format({ ...day, ...year }, now)) return clock;
  return `${format(format(year, at) === format(year, now) ? day : { ...day, ...year }, at)} ${clock}`;
}

export const isoInstant = (atSecs: number): string => {
  const at = new Date(atSecs * 1000);
  return Number.isNaN(at.getTime()) ? String(atSecs) : at.toISOString().replace('.000Z', 'Z');
};

/** Long enough for every value that means something; the whole one is a GET away. */
const LONGEST = 300;

/** Text from outside, made harmless for the eye too: control characters and direction overrides are spelled out. */
export function shown(text: string, longest = LONGEST): string {
  const cut = text.length > longest ? `${text.slice(0, longest)}… (${text.length} characters)` : text;
  return escapeLine(cut);
}

export const counted = (count: number, one: string, many = `${one}s`): string =>
  `${count.toLocaleString('en')} ${count === 1 ? one : many}`;

export const latency = (ms: number): string =>
  ms < 1 ? '<1 ms' : ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;

/** What a value of HSF-TN-2016-02 means, where the bare number does not say; null where it does. */
export function meaning(key: string, value: string, nowMs: number, zone?: string): string | null {
  if (!/^\d+(\.\d+)?$/.test(value)) return null;
  const number = Number(value);
  if (/^(shutdowntime|shutdowntime_job|jobstart_secs)$/.test(key) && number > 1e9)
    return `${instant(number, nowMs, zone)}, ${distance(number, nowMs)}`;
  if (/_bytes(_job)?$/.test(key) && number >= 1024) return bytes(number);
  return /_secs(_job)?$/.test(key) && number >= 60 ? formatDuration(number * 1000) : null;
}

function bytes(number: number): string {
  const units = ['KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  const power = Math.min(units.length, Math.floor(Math.log2(number) / 10));
  const scaled = number / 1024 ** power;
  return `${scaled >= 100 ? Math.round(scaled) : Math.round(scaled * 10) / 10} ${units[power - 1] ?? ''}`;
}
