/**
 * A platform is asked at several endpoints, each in its own rhythm, and one that is slow or dead must not hold up the
 * others (issue "Every channel", 4). A source made of parts: each reading asks the parts that are due and answers with what
 * came in time; what comes later is handed over by a reading of its own.
 *
 * It is fresh (S1.7) by its leading parts alone, those that are asked at each poll or follow: while none of them is well, what
 * the slow ones bring counts, and the source fails all the same. Each answer was asked for: where nothing of value was due, a
 * leading part is asked as well.
 */
import type { Answer, Pointers, Reading, StatedNotice } from '../lifetime/types.ts';
import { type Asked, askPart, keepFollowing } from './parts-ask.ts';
import { enterFailure, enterReport, type Ledger, openLedger, tell } from './parts-ledger.ts';
import { type ReadContext, type ReadResult, type Source, SourceError } from './source.ts';

/**
 * What one part learnt. Names that it does not mention are left as they are, unless `others` says otherwise. A name that
 * several parts give is there if one of them says so (of notices the earliest, of keys that of the first part in the list),
 * unknown if one of them cannot tell, and else gone.
 */
export interface PartReport {
  readonly notices?: Readonly<Record<string, Reading<StatedNotice>>>;
  readonly machine?: Readonly<Record<string, Reading<string>>>;
  readonly job?: Readonly<Record<string, Reading<string>>>;
  /** What follows from what the machine is. */
  readonly derived?: Answer['derived'];
  readonly pointers?: Pointers;
  readonly hostNowMs?: number;
  /**
   * What becomes of notices and keys that this part gave before and does not mention now: it has looked through all there
   * is. Once every part has been heard, what is held from before a restart of the agent is then absent too.
   */
  readonly others?: 'absent' | 'negative';
  /**
   * Of these nobody else in this source speaks, but for the notices that other parts speak for: what the agent holds from
   * before its restart and this report does not mention is absent (S1.6), whether the other parts are heard or not.
   */
  readonly whole?: readonly ('notices' | 'keys')[];
  /**
   * There is more than this report could take in: of what the agent holds from before its restart nothing may be concluded
   * by what the other parts list.
   */
  readonly isCut?: true;
  /** Nobody was asked for this report: it says nothing of whether the platform lives. */
  readonly unasked?: true;
}

export interface Part {
  /** Its path or name, for faults and people: `spot/instance-action`. */
  readonly name: string;
  /**
   * Interval in ms; `once` = until it has answered. What failed is tried again sooner. 0: at every reading, for a source that
   * is read by a site's cron expression.
   */
  readonly everyMs: number | 'once';
  /** Ids of notices that nobody can clear while it fails; for those that it has given this is so anyway. */
  readonly speaksFor?: readonly string[];
  /** @throws SourceError; must end soon after `signal` is aborted. */
  read(context: ReadContext): Promise<PartReport>;
  /**
   * A hanging GET or the like, where the platform offers it: hands over each report as it comes and resolves when `signal` is
   * aborted. It bounds its own waits and paces its own repetitions. `read` is then asked only when `everyMs` passed without
   * a report, soon after an Error (which is no failure of the part unless `read` fails too), and to confirm an absence.
   */
  follow?(handOver: (report: PartReport | Error) => void, signal: AbortSignal): Promise<void>;
}

export interface PartsOptions extends Pick<Source, 'name' | 'rank' | 'poll' | 'back'> {
  readonly parts: readonly Part[];
  /** Longest that one part's `read` may take, ms. */
  readonly timeoutMs: number;
  /** Of a monotonic clock. */
  readonly nowMs?: () => number;
  readonly random?: () => number;
  close?(): void;
}

/** Parts that answer so much later than the first are handed over later: a payload may have only seconds. */
const PATIENCE_MS = 100;
/** The same where somebody waits for the truth of this moment before he acts (S4.2). */
const FRESH_PATIENCE_MS = 1_000;
/** Intervals are jittered by the driver: what is due within the jitter is due. */
const DUE_SHARE = 0.85;
/** What failed is tried again so soon at first, and so late at most, but never later than its interval. */
const FIRST_RETRY_MS = 2_000;
const LAST_RETRY_MS = 60_000;
/** Ten thousand guests fail at the same moment. */
const RETRY_JITTER = 0.1;
/** In a reading that another part holds up, a part is asked again no sooner. */
const AGAIN_MS = 1_000;
/** A reading may take so much longer than its slowest part: then somebody else can still be heard … */
const WITNESS_MS = 700;
/** … and the answer be put together. */
const SPARE_MS = 300;

interface Row {
  readonly part: Part;
  readonly ledger: Ledger;
  /** `stuck`: given up, and has not ended yet. */
  state: 'idle' | 'asked' | 'stuck';
  /** Monotonic; when it was asked last or, by `follow`, reported. */
  sinceMs: number;
  followedMs: number;
  /** Of its `read`, running. */
  failures: number;
  /** By this factor the pause after a failure differs from the rule. */
  jitter: number;
  /** `follow` has failed since `read` was asked. */
  hurried: boolean;
  done: boolean;
}

const NEVER = Number.NEGATIVE_INFINITY;
const intervalMs = ({ everyMs }: Part): number => (everyMs === 'once' ? Number.POSITIVE_INFINITY : everyMs);

/** `read` throws what the first of its leading parts threw where none of them is well. */
export function sourceOfParts(options: PartsOptions): Source {
  const { poll } = options;
  const nowMs = options.nowMs ?? (() => performance.now());
  const random = options.random ?? Math.random;
  const rows = options.parts.map((part): Row => {
    const ledger = openLedger(part);
    const row = {
      part,
      ledger,
      sinceMs: NEVER,
      followedMs: NEVER,
      failures: 0,
      jitter: 1,
      hurried: false,
      done: false,
    };
    return { ...row, state: 'idle' };
  });
  const ledgers = rows.map(({ ledger }) => ledger);
  /** Of readings that go on: called when something has come. */
  const readings = new Set<() => void>();
  /** Of those among them that ask what is due meanwhile. */
  const joinable = new Set<(due: Row) => void>();
  const asking = new Set<Asked>();
  /** How many readings have not told yet what they heard. */
  let reading = 0;
  let changed: (() => void) | undefined;
  /** The next reading was asked for from here, out of the driver's turn. */
  let outOfTurn = false;
  let wake: NodeJS.Timeout | undefined;
  let closed = false;

  const isIdle = ({ state, done }: Row): boolean => state === 'idle' && !done;
  /** Those by which the source is fresh: they follow, or are the ones that its `poll` is meant for. */
  function leading(): readonly Row[] {
    const mostMs = typeof poll === 'number' ? poll : Math.min(...rows.map(({ part }) => intervalMs(part)));
    const found = rows.filter(({ part }) => part.follow !== undefined || intervalMs(part) <= mostMs);
    return found.length > 0 ? found : rows;
  }
  const hasGoodNews = (): boolean => ledgers.some((ledger) => ledger.hasGoodNews);
  const retryMs = (failures: number): number =>
    Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(16, Math.max(0, failures - 1)));

  function pauseMs({ part, failures, hurried, jitter }: Row): number {
    if (failures === 0 && !hurried) return intervalMs(part);
    const pause = retryMs(failures) * jitter;
    return part.everyMs === 0 ? pause : Math.min(intervalMs(part), pause);
  }

  /** `inTurn`: the driver has counted the interval of the fastest parts. */
  function isDue(row: Row, fresh: boolean, inTurn: boolean): boolean {
    if (!isIdle(row)) return false;
    const { everyMs, follow: pushes } = row.part;
    if (row.sinceMs === NEVER || everyMs === 0 || (fresh && everyMs !== 'once')) return true;
    if (inTurn && typeof poll === 'number' && intervalMs(row.part) <= poll && pushes === undefined) return true;
    return nowMs() - row.sinceMs >= pauseMs(row) * DUE_SHARE;
  }

  async function ask(row: Row, context: ReadContext): Promise<void> {
    row.state = 'asked';
    row.sinceMs = nowMs();
    row.hurried = false;
    const begunMs = row.sinceMs;
    const asked = askPart(row.part, context, options.timeoutMs);
    asking.add(asked);
    const answer = await asked.answer;
    asking.delete(asked);
    const stuck = asked.stuck();
    row.state = stuck === undefined ? 'idle' : 'stuck';
    void stuck?.then(() => {
      row.state = 'idle';
    });
    // What `follow` brought meanwhile is newer.
    if (answer instanceof SourceError || row.followedMs <= begunMs) note(row, answer);
    arrived();
  }

  function note(row: Row, report: PartReport | SourceError): void {
    if (closed) return;
    if (report instanceof SourceError) {
      row.failures += 1;
      row.jitter = 1 - RETRY_JITTER + 2 * RETRY_JITTER * random();
      enterFailure(row.ledger, report);
      return;
    }
    row.failures = 0;
    row.done = row.part.everyMs === 'once';
    enterReport(row.ledger, report, nowMs());
  }

  /** Failures wait for a reading: one is soon, since what failed is tried again. */
  function arrived(): void {
    for (const look of readings) look();
    announce();
    armWake();
  }

  function announce(): void {
    if (reading === 0 && hasGoodNews()) changed?.();
  }

  function follow(row: Row, signal: AbortSignal): void {
    const handOver = (report: PartReport | Error): void => {
      if (signal.aborted || closed) return;
      row.hurried = report instanceof Error;
      if (!(report instanceof Error)) {
        row.sinceMs = nowMs();
        row.followedMs = row.sinceMs;
        note(row, report);
      }
      arrived();
    };
    void keepFollowing(row.part, handOver, signal, retryMs);
  }

  async function read(context: ReadContext): Promise<ReadResult> {
    reading += 1;
    try {
      return await readOnce(context);
    } finally {
      reading -= 1;
      // It may have been given up before it could tell.
      announce();
    }
  }

  async function readOnce(context: ReadContext): Promise<ReadResult> {
    const { fresh, signal } = context;
    const inTurn = !outOfTurn;
    outOfTurn = false;
    const asked = new Set<Row>();
    const put = (row: Row): void => {
      asked.add(row);
      void ask(row, context);
    };
    /** Somebody who may know better, where nobody else has anything good to say. */
    const putWitness = (): void => {
      const others = leading().filter((row) => !asked.has(row) && row.failures === 0);
      const witness = others.find(isIdle) ?? others.find(({ state }) => state === 'asked');
      if (witness !== undefined && isIdle(witness)) put(witness);
      else if (witness !== undefined) asked.add(witness);
    };
    const endMs = nowMs() + options.timeoutMs + WITNESS_MS;
    for (const row of rows) if (isDue(row, fresh, inTurn)) put(row);
    if (!hasGoodNews() && [...asked].every(({ failures }) => failures > 0)) putWitness();
    await settle(asked, put, context, endMs);
    if (!hasGoodNews()) {
      putWitness();
      await settle(asked, put, context, endMs);
    }
    // Nothing counts as told before it is certain that it will be heard.
    if (signal.aborted || closed) throw new SourceError('timeout', 'the reading was given up');
    const faults = leading().map(({ ledger }) => ledger.fault);
    const fault = faults.find((each) => each !== undefined) ?? rows.find(({ ledger }) => ledger.fault)?.ledger.fault;
    if (!hasGoodNews() && fault !== undefined) throw fault;
    if (!hasGoodNews() && [...asked].some(({ state }) => state !== 'idle'))
      throw new SourceError('timeout', 'no endpoint has answered yet');
    const repeat = new Set(fresh ? rows.filter(({ done }) => done).map(({ ledger }) => ledger) : []);
    const answer = tell(ledgers, { channel: options.name, nowMs: nowMs(), repeat });
    const isDead = fault !== undefined && faults.every((each) => each !== undefined);
    return { outcome: 'answer', answer, ...(isDead && { failure: fault }) };
  }

  /** Until all that were asked have ended, or patience is over with those that lag behind good news. */
  function settle(
    asked: Set<Row>,
    put: (row: Row) => void,
    { fresh, patient, signal }: ReadContext,
    endMs: number,
  ): Promise<void> {
    return new Promise((resolve) => {
      let patience: NodeJS.Timeout | undefined;
      const leave = (): void => {
        readings.delete(look);
        joinable.delete(put);
        clearTimeout(patience);
        clearTimeout(bound);
        signal.removeEventListener('abort', leave);
        armWake();
        resolve();
      };
      const look = (): void => {
        if (closed || signal.aborted || [...asked].every(({ state }) => state !== 'asked')) leave();
        else if (patience === undefined && patient !== true && hasGoodNews()) {
          patience = setTimeout(leave, fresh ? FRESH_PATIENCE_MS : PATIENCE_MS);
          patience.unref();
        }
      };
      const bound = setTimeout(leave, Math.max(0, endMs - nowMs()));
      bound.unref();
      signal.addEventListener('abort', leave, { once: true });
      readings.add(look);
      // Who waits for everything wants to hear of everything once.
      if (patient !== true && typeof poll === 'number') joinable.add(put);
      look();
      armWake();
    });
  }

  /** When something is to be done of which the driver does not know. */
  function wakeAtMs(row: Row): number {
    const { part, sinceMs, failures, hurried, ledger, jitter } = row;
    if (!isIdle(row)) return Number.POSITIVE_INFINITY;
    // Another part holds the reading up: this one is not to suffer for it.
    if (joinable.size > 0) return sinceMs + Math.max(AGAIN_MS, pauseMs(row));
    if (readings.size > 0 || changed === undefined || (failures === 0 && !hurried)) return Number.POSITIVE_INFINITY;
    const isOwn = hurried || part.everyMs === 'once';
    if (typeof poll === 'number')
      return isOwn || Number(part.everyMs) > poll ? sinceMs + pauseMs(row) : Number.POSITIVE_INFINITY;
    // By a cron expression a site says when it may be asked; only the first answer is not waited for so long.
    return isOwn || !ledger.isHeard ? sinceMs + retryMs(failures) * jitter : Number.POSITIVE_INFINITY;
  }

  function armWake(): void {
    clearTimeout(wake);
    if (closed) return;
    const dueMs = Math.min(...rows.map(wakeAtMs));
    if (dueMs === Number.POSITIVE_INFINITY) return;
    wake = setTimeout(onWake, Math.min(LAST_RETRY_MS, Math.max(0, Math.ceil(dueMs - nowMs()))));
    wake.unref();
  }

  function onWake(): void {
    const due = rows.filter((row) => wakeAtMs(row) <= nowMs());
    const [put] = joinable;
    for (const row of due) put?.(row);
    // The reading that is asked for here sets the next alarm.
    if (put === undefined && due.length > 0) changed?.();
    else armWake();
  }

  return {
    name: options.name,
    rank: options.rank,
    poll,
    timeoutMs: options.timeoutMs + WITNESS_MS + SPARE_MS,
    ...(options.back && { back: options.back }),
    read,
    watch(notify, signal) {
      changed = () => {
        if (signal.aborted || closed) return;
        outOfTurn = true;
        notify(false);
      };
      for (const row of rows) if (row.part.follow !== undefined) follow(row, signal);
      announce();
    },
    nextPollMs() {
      if (typeof poll !== 'number') return undefined;
      const dues = rows.filter(isIdle).map((row) => row.sinceMs + pauseMs(row) - nowMs());
      return Math.max(0, Math.min(poll, ...dues));
    },
    close() {
      closed = true;
      clearTimeout(wake);
      for (const asked of asking) asked.cancel();
      for (const look of readings) look();
      options.close?.();
    },
  };
}
