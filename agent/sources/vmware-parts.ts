/** What is asked of guestinfo and how often: the one document and the times often, all other keys seldom. */
import { KNOWN_INPUT_KEYS } from '../lifetime/features.ts';
import { POINTER_NAMES, type Reading } from '../lifetime/types.ts';
import type { Part, PartReport } from './parts.ts';
import { siteKeys } from './site-keys.ts';
import { SourceError } from './source.ts';
import { type GuestDocument, parseGuestDocument } from './vmware-document.ts';
import type { GuestInfo } from './vmware-tool.ts';

/** What may end the machine or says whether it may be ended; the rest of what is known changes hardly ever. */
const FAST_KEYS: readonly string[] = [
  'shutdowntime',
  'shutdowntime_job',
  'wall_limit_secs',
  'termination_allowed',
  'grace_secs',
  'grace_secs_job',
];
/** Keys that stand for an instant: of several the earliest counts (S1.2). */
const TIMES: readonly string[] = ['shutdowntime', 'shutdowntime_job'];
const SLOW_MS = 600_000;
/** Questions of one part at a time; the tool has a bound of its own over all of them. */
const AT_ONCE = 3;
/** Faults of a value, which say nothing of the tool. */
const OF_ONE_VALUE: readonly string[] = ['not_text', 'too_long'];
/** The one value that may hold them all. */
const DOCUMENT = 'mjf';

/** `ownKeys`: further names of a site. `fastMs`: how often to ask for what is urgent; 0 = at each reading. */
export function guestInfoParts(guestInfo: GuestInfo, ownKeys: readonly string[], fastMs: number): readonly Part[] {
  const known = [...new Set([...KNOWN_INPUT_KEYS.machine, ...KNOWN_INPUT_KEYS.job])];
  const slowKeys = [...POINTER_NAMES, ...known.filter((key) => !FAST_KEYS.includes(key)), ...ownKeys];
  /** The last good one; a code where it was found damaged since. */
  let document: GuestDocument | undefined;
  let damage: string | undefined;
  /** At the start each waits for what the other found, which it has a part in. */
  const firstDocument = latch();
  const firstTimes = latch();
  const singleTimes = new Map<string, Reading<string>>();
  let timesAskedMs = Number.NEGATIVE_INFINITY;

  async function readDocument(signal: AbortSignal): Promise<PartReport> {
    try {
      const text = await guestInfo.get(DOCUMENT, signal);
      try {
        document = text === undefined ? undefined : parseGuestDocument(text);
        damage = undefined;
      } catch (error) {
        if (error instanceof SourceError) damage = error.code;
        throw error;
      }
    } finally {
      firstDocument.open();
    }
    await firstTimes.opened;
    if (document === undefined) return { others: 'absent' };
    const { keys, pointers } = document;
    return { machine: withEarlier(keys.machine), job: withEarlier(keys.job), pointers, others: 'absent' };
  }

  /** Somebody wrote each of the two, and what is believed of two parts is the first one's word. */
  function withEarlier(keys: Readonly<Record<string, Reading<string>>>): Readonly<Record<string, Reading<string>>> {
    const pairs = Object.entries(keys).map(([key, reading]) => {
      const single = TIMES.includes(key) ? singleTimes.get(key) : undefined;
      const isEarlier =
        single?.is === 'present' && reading.is === 'present' && Number(single.value) < Number(reading.value);
      return [key, isEarlier ? single : reading] as const;
    });
    return Object.fromEntries(pairs);
  }

  /** @throws SourceError where not one key was answered. */
  async function readSingles(names: readonly string[], signal: AbortSignal): Promise<PartReport> {
    const left = [...names];
    const readings = new Map<string, Reading<string>>();
    let answered = false;
    let failure: SourceError | undefined;
    async function one(name: string): Promise<Reading<string>> {
      // A tool that hung once would hang for every key.
      if (failure !== undefined) return { is: 'unknown', error: failure.code };
      try {
        const value = await guestInfo.get(name, signal);
        answered = true;
        return value === undefined ? { is: 'absent' } : { is: 'present', value };
      } catch (error) {
        if (!(error instanceof SourceError)) throw error;
        if (!OF_ONE_VALUE.includes(error.code)) failure = error;
        return { is: 'unknown', error: error.code };
      }
    }
    const worker = async (): Promise<void> => {
      for (let name = left.shift(); name !== undefined; name = left.shift()) readings.set(name, await one(name));
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    if (failure !== undefined && !answered) throw failure;
    await firstDocument.opened;
    return reportOf(readings);
  }

  async function readTimes(signal: AbortSignal): Promise<PartReport> {
    try {
      const report = await readSingles(FAST_KEYS, signal);
      for (const [key, reading] of Object.entries({ ...report.machine, ...report.job }))
        if (TIMES.includes(key)) singleTimes.set(key, reading);
      return report;
    } finally {
      firstTimes.open();
    }
  }

  function reportOf(readings: ReadonlyMap<string, Reading<string>>): PartReport {
    const sides = { machine: new Map<string, Reading<string>>(), job: new Map<string, Reading<string>>() };
    const pointers = {};
    for (const [name, reading] of readings) {
      const found = siteKeys([[name, reading.is === 'present' ? reading.value : '']]);
      // A document that cannot be read may hold any key: none of them is known to be gone.
      const told: Reading<string> =
        reading.is === 'absent' && damage !== undefined ? { is: 'unknown', error: damage } : reading;
      for (const side of ['machine', 'job'] as const)
        for (const key of Object.keys(found[side])) sides[side].set(key, told);
      Object.assign(pointers, found.pointers);
    }
    return { machine: Object.fromEntries(sides.machine), job: Object.fromEntries(sides.job), pointers };
  }

  return [
    { name: 'guestinfo.mjf', everyMs: fastMs, read: ({ signal }) => readDocument(signal) },
    {
      name: 'times',
      everyMs: fastMs,
      async read({ signal, fresh }) {
        // A site that writes the document is asked for single keys too, only not so often.
        if (document !== undefined && !fresh && performance.now() - timesAskedMs < SLOW_MS) return { unasked: true };
        const report = await readTimes(signal);
        timesAskedMs = performance.now();
        return report;
      },
    },
    { name: 'other keys', everyMs: SLOW_MS, read: ({ signal }) => readSingles(slowKeys, signal) },
  ];
}

function latch(): { readonly opened: Promise<void>; open(): void } {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}
