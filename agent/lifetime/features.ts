/**
 * The key table of HSF-TN-2016-02 ("Machine/Job Features") and its 2013 predecessors: which keys there are, what a good
 * value looks like, and how old names translate. Input is judged here once, for every source alike.
 */
import { own } from './held.ts';
import type { Reading, Side, SourceRank } from './types.ts';

type Shape =
  | 'count'
  | 'decimal'
  | 'unix_secs'
  | 'secs'
  | 'limit_secs'
  | 'bytes'
  | 'limit_bytes'
  | 'identifier'
  | 'flag';

/** Keys of the specification, and those that this project gives a meaning (termination_allowed). */
export const FEATURES: Readonly<Record<Side, Readonly<Record<string, Shape>>>> = {
  machine: {
    total_cpu: 'count',
    hs06: 'decimal',
    hepscore23: 'decimal',
    shutdowntime: 'unix_secs',
    grace_secs: 'secs',
    termination_allowed: 'flag',
  },
  job: {
    allocated_cpu: 'count',
    hs06_job: 'decimal',
    shutdowntime_job: 'unix_secs',
    grace_secs_job: 'secs',
    jobstart_secs: 'unix_secs',
    job_id: 'identifier',
    wall_limit_secs: 'limit_secs',
    cpu_limit_secs: 'limit_secs',
    max_rss_bytes: 'limit_bytes',
    max_swap_bytes: 'bytes',
    scratch_limit_bytes: 'limit_bytes',
    termination_allowed: 'flag',
  },
};

/** Old names still met as input. `factor` multiplies; `_lrms` limits are divided by `cpufactor_lrms` where that is given. */
const LEGACY: Readonly<
  Record<Side, Readonly<Record<string, { readonly to: string; readonly factor?: number; readonly lrms?: true }>>>
> = {
  machine: { log_cores: { to: 'total_cpu' } },
  job: {
    allocated_CPU: { to: 'allocated_cpu' },
    mem_limit_MB: { to: 'max_rss_bytes', factor: 1e6 },
    disk_limit_GB: { to: 'scratch_limit_bytes', factor: 1e9 },
    cpu_limit_secs_lrms: { to: 'cpu_limit_secs', lrms: true },
    wall_limit_secs_lrms: { to: 'wall_limit_secs', lrms: true },
  },
};
const LRMS_FACTOR = 'cpufactor_lrms';

/** Every name worth asking a server for that offers no listing. The times come first: they are what a round must not miss. */
export const KNOWN_INPUT_KEYS: Readonly<Record<Side, readonly string[]>> = {
  machine: [
    'shutdowntime',
    ...Object.keys(FEATURES.machine).filter((key) => key !== 'shutdowntime'),
    ...Object.keys(LEGACY.machine),
    'phys_cores',
    'jobslots',
  ],
  job: [
    'shutdowntime_job',
    ...Object.keys(FEATURES.job).filter((key) => key !== 'shutdowntime_job'),
    ...Object.keys(LEGACY.job),
    LRMS_FACTOR,
  ],
};

/** The keys that the agent computes from the deadline in force (S2.4); a source's own value is only a notice. */
export const SHUTDOWN_KEYS: Readonly<Record<Side, string>> = { machine: 'shutdowntime', job: 'shutdowntime_job' };

/** 2001-09-09: anything smaller is a duration, a `0`, or the first digits of a value that is still being written. */
const EARLIEST_UNIX_SECS = 1_000_000_000;
/** Year 5138: anything larger is milliseconds in place of seconds. */
const LATEST_UNIX_SECS = 100_000_000_000;
/** Numbers beyond this would not survive a trip through a double. */
const MAX_DIGITS = 15;
/** Long enough for every batch system's id and any UUID. */
const MAX_IDENTIFIER = 256;
/** One line of text, no files in disguise. */
const MAX_TEXT = 4096;
/** What old names were given in: megabytes, normalised seconds, factors. */
const SCALABLE = /^\d{1,12}(\.\d{1,6})?$/;
const FLAGS: ReadonlyMap<string, string> = new Map([
  ['1', '1'],
  ['0', '0'],
  ['true', '1'],
  ['false', '0'],
]);
const LEGAL_KEY = /^[a-z0-9_]{1,64}$/;

const bad = (error: string): Reading<string> => ({ is: 'unknown', error });

/**
 * One value as a host wrote it → the value as published, or why not. Tolerates a missing newline, `\n`, `\r\n` and
 * surrounding blanks (mjf.md, "Input format"); everything else that is not exactly a value of the key's shape is refused,
 * so that the last good value stands. Error codes: empty, two_lines, not_text, too_long, not_a_number, not_whole,
 * out_of_range, not_an_identifier, not_a_flag.
 */
export function judgeValue(
  side: Side,
  key: string,
  raw: string,
): { readonly value: string } | { readonly error: string } {
  const text = raw.trim();
  if (text === '') return { error: 'empty' };
  // Before any pattern is tried: on a megabyte of digits some of them would take hours.
  if (text.length > MAX_TEXT) return { error: 'too_long' };
  if (/[\r\n]/.test(text)) return { error: 'two_lines' };
  // Also refuses the replacement character: what was not UTF-8 is not a value. Everything a terminal would obey is out.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are exactly what is looked for
  if (/[\u0000-\u001f\u007f-\u009f\u2028\u2029\ufffd]/.test(text)) return { error: 'not_text' };
  // A server's error page with status 200; as one line without blanks it would even pass for an identifier.
  if (/^<(?:!doctype|html|head|body|\?xml)\b/i.test(text)) return { error: 'not_text' };
  const shape = own(FEATURES[side], key);
  return shape === undefined ? { value: text } : judgeShape(shape, text);
}

function judgeShape(shape: Shape, text: string): { readonly value: string } | { readonly error: string } {
  switch (shape) {
    case 'identifier':
      return /^[\x21-\x7e]+$/.test(text) && text.length <= MAX_IDENTIFIER
        ? { value: text }
        : { error: 'not_an_identifier' };
    case 'flag': {
      const value = FLAGS.get(text.toLowerCase());
      return value === undefined ? { error: 'not_a_flag' } : { value };
    }
    case 'decimal': {
      if (!/^\d{1,15}(\.\d{1,15})?$/.test(text)) return { error: 'not_a_number' };
      return Number(text) > 0 ? { value: stripZeros(text) } : { error: 'out_of_range' };
    }
    default: {
      if (/^-\d+$/.test(text)) return { error: 'out_of_range' };
      if (!/^\d+$/.test(text))
        return { error: /^[+-]?\d*\.?\d+([eE][+-]?\d+)?$/.test(text) ? 'not_whole' : 'not_a_number' };
      if (stripZeros(text).length > MAX_DIGITS) return { error: 'out_of_range' };
      const number = Number(text);
      const [least, most] =
        shape === 'unix_secs'
          ? [EARLIEST_UNIX_SECS, LATEST_UNIX_SECS]
          : shape === 'secs' || shape === 'bytes'
            ? [0, Infinity]
            : [1, Infinity];
      return number >= least && number <= most ? { value: String(number) } : { error: 'out_of_range' };
    }
  }
}

const stripZeros = (text: string): string => text.replace(/^0+(?=\d)/, '');

/** Whether a key may pass from a source of this rank: unknown legal keys only from the MJF channels and the configuration (S2.2). */
export function mayPass(side: Side, key: string, rank: SourceRank): boolean {
  // `constructor` and `__proto__` are legal names by the letter; as keys of plain objects they would be traps.
  if (key in Object.prototype) return false;
  if (FEATURES[side][key] !== undefined) return true;
  return LEGAL_KEY.test(key) && (rank === 'directory' || rank === 'mjf' || rank === 'static');
}

/** S2.2: in tags, attributes and contexts a site marks with this prefix what the payloads may see. */
const PASS_PREFIX = 'mjf_';

/** The name under which a key passes, or undefined when it does not. */
function passingName(side: Side, key: string, rank: SourceRank): string | undefined {
  if (mayPass(side, key, rank)) return key;
  if (rank !== 'platform' || !key.startsWith(PASS_PREFIX)) return undefined;
  const name = key.slice(PASS_PREFIX.length);
  return LEGAL_KEY.test(name) && !(name in Object.prototype) ? name : undefined;
}

/**
 * Raw readings of one side → readings by today's names with judged values. Old and prefixed names are translated where the
 * name itself is not present; illegal and non-passing names are left out. A refused value becomes `unknown` with its code.
 */
export function translate(
  side: Side,
  rank: SourceRank,
  keys: Readonly<Record<string, Reading<string>>>,
): Map<string, Reading<string>> {
  const result = new Map<string, Reading<string>>();
  const prefixed: [string, Reading<string>][] = [];
  for (const [key, reading] of Object.entries(keys)) {
    const name = own(LEGACY[side], key) === undefined ? passingName(side, key, rank) : undefined;
    if (name === key) result.set(key, judge(side, key, reading));
    else if (name !== undefined) prefixed.push([name, reading]);
  }
  for (const [name, reading] of prefixed) {
    const plain = result.get(name);
    if (plain === undefined || plain.is === 'absent') result.set(name, judge(side, name, reading));
  }
  for (const [old, { to, factor, lrms }] of Object.entries(LEGACY[side])) {
    const reading = keys[old];
    if (reading === undefined) continue;
    if (reading.is === 'absent' || reading.is === 'negative') {
      // In an answer that speaks of some names only, the old name stood for the new one.
      if (!result.has(to)) result.set(to, reading);
      continue;
    }
    const modern = result.get(to);
    if (modern !== undefined && modern.is !== 'absent') continue;
    result.set(to, scale(side, to, reading, factor ?? 1, lrms ? keys[LRMS_FACTOR] : undefined));
  }
  return result;
}

function judge(side: Side, key: string, reading: Reading<string>): Reading<string> {
  if (reading.is !== 'present') return reading;
  const judged = judgeValue(side, key, reading.value);
  return 'value' in judged ? { is: 'present', value: judged.value } : bad(judged.error);
}

function scale(
  side: Side,
  to: string,
  reading: Reading<string>,
  factor: number,
  divisor: Reading<string> | undefined,
): Reading<string> {
  if (reading.is !== 'present') return reading;
  // Without its factor the limit would be another one, and perhaps a later deadline.
  if (divisor?.is === 'unknown') return divisor;
  if (factor === 1 && divisor?.is !== 'present') return judge(side, to, reading);
  const text = reading.value.trim();
  const by = divisor?.is === 'present' ? divisor.value.trim() : '1';
  if (!SCALABLE.test(text) || !SCALABLE.test(by)) return bad('not_a_number');
  if (Number(by) === 0) return bad('out_of_range');
  return judge(side, to, { is: 'present', value: String(Math.round((Number(text) * factor) / Number(by))) });
}
