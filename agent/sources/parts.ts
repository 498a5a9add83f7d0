/**
 * A platform is asked at several endpoints, each in its own rhythm, and one that is slow or dead must not hold up the
 * others (issue "Every channel", 4). A source made of parts: each reading asks the parts that are due and answers with what
 * came in time; what comes later is handed over by a reading of its own.
 */
import type { Answer, FeatureReading, Pointers, Reading, Side, StatedNotice } from '../lifetime/types.ts';
import { type ReadContext, type ReadResult, type Source, SourceError } from './source.ts';

/** What one part learnt. Names that it does not mention are left as they are, unless `others` says otherwise. */
export interface PartReport {
  readonly notices?: Readonly<Record<string, Reading<StatedNotice>>>;
  readonly machine?: Readonly<Record<string, Reading<string>>>;
  readonly job?: Readonly<Record<string, Reading<string>>>;
  /** What follows from what the machine is. */
  readonly derived?: Answer['derived'];
  readonly pointers?: Pointers;
  readonly hostNowMs?: number;
  /** What becomes of notices and keys that this part gave before and does not mention now: it has looked through all there is. */
  readonly others?: 'absent' | 'negative';
}

export interface Part {
  /** Its path or name, for faults and people: `spot/instance-action`. */
  readonly name: string;
  /** Interval in ms; `once` = until it has answered. */
  readonly everyMs: number | 'once';
  /** Ids of notices that are unknown while it fails; those that it has given are so anyway. */
  readonly speaksFor?: readonly string[];
  /** @throws SourceError; must end soon after `signal` is aborted. */
  read(context: ReadContext): Promise<PartReport>;
  /**
   * A hanging GET or the like, where the platform offers it: hands over each report as it comes (a failure as an Error)
   * and resolves when `signal` is aborted. It bounds its own waits and paces its own repetitions. `read` is then asked only
   * when `everyMs` passed without a report, or to confirm an absence.
   */
  follow?(handOver: (report: PartReport | Error) => void, signal: AbortSignal): Promise<void>;
}

export interface PartsOptions extends Pick<Source, 'name' | 'rank' | 'poll'> {
  readonly parts: readonly Part[];
  /** Longest that one part's `read` may take, ms. */
  readonly timeoutMs: number;
  readonly nowMs?: () => number;
  close?(): void;
}

/** Parts that answer so much later than the first are handed over later: a payload may have only seconds. */
const PATIENCE_MS = 100;
/** Intervals are jittered by the driver: what is due within the jitter is due. */
const DUE_SHARE = 0.85;
/** What is read once is tried again so soon at first, and so late at most. */
const FIRST_RETRY_MS = 2_000;
const LAST_RETRY_MS = 60_000;
/** What a reading needs beyond its parts' time to put the answer together. */
const SPARE_MS = 500;
/** A host that invents ids must not fill the memory. */
const MAX_KNOWN_NAMES = 512;

interface Row {
  readonly part: Part;
  /** Everything that it ever gave. */
  readonly known: { readonly notices: Set<string>; readonly machine: Set<string>; readonly job: Set<string> };
  inFlight: boolean;
  /** Monotonic; when it last ended or, by `follow`, reported. */
  endedMs: number | undefined;
  failures: number;
  done: boolean;
}
type Ended = { readonly row: Row; readonly report: PartReport | SourceError };

/** The source. Throws what its parts threw first where none of those that were due had an answer. */
export function sourceOfParts(options: PartsOptions): Source {
  const nowMs = options.nowMs ?? (() => performance.now());
  const rows = options.parts.map(
    (part): Row => ({
      part,
      known: { notices: new Set(part.speaksFor), machine: new Set(), job: new Set() },
      inFlight: false,
      endedMs: undefined,
      failures: 0,
      done: false,
    }),
  );
  /** What came after its reading had gone, or by itself. */
  let pending: Ended[] = [];
  let handingOver = false;
  let changed: (() => void) | undefined;

  function isDue(row: Row, fresh: boolean): boolean {
    const { everyMs } = row.part;
    if (row.inFlight || row.done) return false;
    if (row.endedMs === undefined) return true;
    const sinceMs = nowMs() - row.endedMs;
    if (everyMs === 'once')
      return sinceMs >= Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(16, row.failures - 1));
    const fast = typeof options.poll === 'number' && everyMs <= options.poll && row.part.follow === undefined;
    return fresh || fast || sinceMs >= everyMs * DUE_SHARE;
  }

  function note(row: Row, report: PartReport | SourceError): Ended {
    row.endedMs = nowMs();
    row.failures = report instanceof SourceError ? row.failures + 1 : 0;
    if (!(report instanceof SourceError) && row.part.everyMs === 'once') row.done = true;
    return { row, report };
  }

  async function ask(row: Row, context: ReadContext): Promise<Ended> {
    row.inFlight = true;
    // Its own bound: the reading may have gone, and with it the driver's signal.
    const bound = AbortSignal.any([context.signal, AbortSignal.timeout(options.timeoutMs)]);
    try {
      return note(row, await row.part.read({ ...context, signal: bound }));
    } catch (error) {
      return note(row, asSourceError(error, row.part));
    } finally {
      row.inFlight = false;
    }
  }

  async function read(context: ReadContext): Promise<ReadResult> {
    const only = handingOver;
    handingOver = false;
    const due = only ? [] : rows.filter((row) => isDue(row, context.fresh));
    const ended = await inTime(
      due.map((row) => ask(row, context)),
      (late) => handOver(late),
    );
    const all = [...pending, ...ended];
    pending = [];
    const bad = all.map(({ report }) => report).find((report) => report instanceof SourceError);
    if (bad !== undefined && all.every(({ report }) => report instanceof SourceError)) throw bad;
    // Nothing was due, and nobody is heard of: what is on its way will speak for itself.
    if (all.length === 0 && rows.every(({ endedMs }) => endedMs === undefined))
      throw new SourceError('timeout', 'no endpoint has answered yet');
    return { outcome: 'answer', answer: answerOf(all, options.name) };
  }

  /** A failure waits for the next reading: by itself it would make the whole source look dead. */
  function handOver(late: Ended): void {
    pending = [...pending.filter(({ row }) => row !== late.row || !(late.report instanceof SourceError)), late];
    if (late.report instanceof SourceError) return;
    handingOver = true;
    changed?.();
  }

  return {
    name: options.name,
    rank: options.rank,
    poll: options.poll,
    timeoutMs: options.timeoutMs + SPARE_MS,
    read,
    watch(notify, signal) {
      changed = notify;
      for (const row of rows) {
        const { part } = row;
        part
          .follow?.((report) => {
            if (!signal.aborted) handOver(note(row, report instanceof Error ? asSourceError(report, part) : report));
          }, signal)
          .catch((error: unknown) => handOver(note(row, asSourceError(error, part))));
      }
    },
    close: () => options.close?.(),
  };
}

/** Those that end before the patience with the others is over; each of the others goes to `onLate` when it ends. */
function inTime(asked: readonly Promise<Ended>[], onLate: (late: Ended) => void): Promise<readonly Ended[]> {
  return new Promise((resolve) => {
    const ended: Ended[] = [];
    let gone = false;
    let timer: NodeJS.Timeout | undefined;
    const leave = (): void => {
      gone = true;
      clearTimeout(timer);
      resolve(ended);
    };
    if (asked.length === 0) leave();
    for (const each of asked) {
      void each.then((one) => {
        if (gone) return onLate(one);
        ended.push(one);
        if (ended.length === asked.length) leave();
        // Patience begins with the first that has something to say.
        else if (!(one.report instanceof SourceError)) timer ??= setTimeout(leave, PATIENCE_MS);
      });
    }
  });
}

function answerOf(all: readonly Ended[], channel: string): Answer {
  const notices = new Map<string, Reading<StatedNotice>>();
  const sides = { machine: new Map<string, Reading<string>>(), job: new Map<string, Reading<string>>() };
  const derived = { machine: new Map<string, Reading<string>>(), job: new Map<string, Reading<string>>() };
  const pointers: { -readonly [K in keyof Pointers]: Pointers[K] } = {};
  let hostNowMs: number | undefined;
  for (const { row, report } of all) {
    if (report instanceof SourceError) {
      const unknown = { is: 'unknown', error: report.code } as const;
      // Under the part's own name too, so that a failure is seen where it has given nothing yet.
      for (const id of [`@${row.part.name}`, ...row.known.notices]) if (!notices.has(id)) notices.set(id, unknown);
      for (const side of ['machine', 'job'] as const)
        for (const key of row.known[side]) if (!sides[side].has(key)) sides[side].set(key, unknown);
      continue;
    }
    // The failure is over, if there was one: what was marked under the part's name is not there any more.
    notices.set(`@${row.part.name}`, { is: 'negative' });
    enter(notices, row.known.notices, report.notices, report.others);
    for (const side of ['machine', 'job'] as const) {
      enter(sides[side], row.known[side], report[side], report.others);
      for (const [key, reading] of Object.entries(report.derived?.[side] ?? {})) derived[side].set(key, reading);
    }
    Object.assign(pointers, report.pointers);
    hostNowMs = report.hostNowMs ?? hostNowMs;
  }
  const feature = (side: Side): FeatureReading => ({
    channel,
    complete: false,
    keys: Object.fromEntries(sides[side]),
  });
  return {
    ...(hostNowMs === undefined ? {} : { hostNowMs }),
    ...(sides.machine.size === 0 ? {} : { machine: feature('machine') }),
    ...(sides.job.size === 0 ? {} : { job: feature('job') }),
    ...(notices.size === 0 ? {} : { notices: { complete: false, byId: Object.fromEntries(notices) } }),
    ...(derived.machine.size + derived.job.size === 0
      ? {}
      : { derived: { machine: Object.fromEntries(derived.machine), job: Object.fromEntries(derived.job) } }),
    ...(Object.keys(pointers).length === 0 ? {} : { pointers }),
  };
}

function enter<T>(
  into: Map<string, Reading<T>>,
  known: Set<string>,
  given: Readonly<Record<string, Reading<T>>> = {},
  others: PartReport['others'],
): void {
  if (others !== undefined) for (const name of known) into.set(name, { is: others });
  for (const [name, reading] of Object.entries(given)) {
    into.set(name, reading);
    if (known.size < MAX_KNOWN_NAMES) known.add(name);
  }
}

function asSourceError(error: unknown, { name }: Part): SourceError {
  if (error instanceof SourceError) return error;
  if (error instanceof Error && (error.name === 'AbortError' || error.name === 'TimeoutError'))
    return new SourceError('timeout', `${name}: no answer in time`);
  return new SourceError('internal', `${name}: ${error instanceof Error ? error.message : String(error)}`);
}
