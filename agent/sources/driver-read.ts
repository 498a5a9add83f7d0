/** The readings of one source: one at a time, each bounded, also where the source ignores that its time is over. */
import type { Clock } from '../clock.ts';
import type { Answer, Observation } from '../lifetime/types.ts';
import { type ReadResult, type Source, SourceError } from './source.ts';
import { startTimer, type Timer } from './timer.ts';

export interface EndedRead {
  readonly observation: Observation;
  /** Where the source broke in a way that it did not foresee. */
  readonly stack: string | undefined;
  readonly startedMono: number;
  readonly endedMono: number;
}

export interface Reader {
  /** A reading now; while one is going on, one more after it, however often asked. */
  request(fresh: boolean): void;
  stop(): void;
}

interface Surroundings {
  readonly clock: Clock;
  onStart(): void;
  /** Once for each reading, in order; not after `stop`. */
  onEnd(read: EndedRead): void;
}

/** After its signal a source may still hand over what it has (a round of which half is answered). */
const ABORT_GRACE_MS = 250;
/** One abandoned and one going on: more would pile up threads and sockets behind a hung channel. */
const MAX_OUTSTANDING = 2;

export function startReader(source: Source, { clock, onStart, onEnd }: Surroundings): Reader {
  let current:
    | { readonly abort: AbortController; end: (read: Omit<EndedRead, 'startedMono' | 'endedMono'>) => void }
    | undefined;
  /** A reading that is wanted as soon as possible. */
  let wanted: { readonly fresh: boolean } | undefined;
  let outstanding = 0;
  /** An abandoned reading is given this long to return before another is started beside it. */
  let holdUntilMono = Number.NEGATIVE_INFINITY;
  let holdTimer: Timer | undefined;
  let stopped = false;

  function next(): void {
    if (stopped || current !== undefined || wanted === undefined || outstanding >= MAX_OUTSTANDING) return;
    if (outstanding > 0 && clock.now().mono < holdUntilMono) {
      holdTimer ??= startTimer(clock, holdUntilMono, () => {
        holdTimer = undefined;
        next();
      });
      return;
    }
    const { fresh } = wanted;
    wanted = undefined;
    start(fresh);
  }

  function start(fresh: boolean): void {
    const startedMono = clock.now().mono;
    const abort = new AbortController();
    let abandonTimer: Timer | undefined;
    const abortTimer = startTimer(clock, startedMono + source.timeoutMs, () => {
      abort.abort();
      abandonTimer = startTimer(clock, startedMono + source.timeoutMs + ABORT_GRACE_MS, () => {
        holdUntilMono = clock.now().mono + source.timeoutMs;
        read.end({ observation: late(source), stack: undefined });
      });
    });
    const read = {
      abort,
      end(result: Omit<EndedRead, 'startedMono' | 'endedMono'>) {
        // What an abandoned reading says later is of another time: discarded.
        if (current !== read) return;
        current = undefined;
        abortTimer.cancel();
        abandonTimer?.cancel();
        if (!stopped) onEnd({ ...result, startedMono, endedMono: clock.now().mono });
        next();
      },
    };
    current = read;
    outstanding += 1;
    onStart();
    void readOnce(source, fresh, abort.signal).then((result) => {
      outstanding -= 1;
      read.end(result);
      next();
    });
  }

  return {
    request(fresh) {
      if (stopped) return;
      wanted = { fresh: fresh || wanted?.fresh === true };
      next();
    },
    stop() {
      stopped = true;
      wanted = undefined;
      holdTimer?.cancel();
      current?.abort.abort();
      current?.end({ observation: late(source), stack: undefined });
    },
  };
}

/** Never rejects. */
async function readOnce(
  source: Source,
  fresh: boolean,
  signal: AbortSignal,
): Promise<Omit<EndedRead, 'startedMono' | 'endedMono'>> {
  try {
    const result = await source.read({ signal, fresh });
    return { observation: observationOf(source, result), stack: undefined };
  } catch (error) {
    if (signal.aborted) return { observation: late(source), stack: undefined };
    if (error instanceof SourceError) return { observation: failed(source, error), stack: undefined };
    const detail = error instanceof Error ? error.message : String(error);
    const stack = error instanceof Error ? error.stack : undefined;
    return { observation: failed(source, { code: 'internal', message: detail }), stack: stack ?? detail };
  }
}

function observationOf(source: Source, result: ReadResult): Observation {
  if (result.outcome === 'no_channel') return { source: source.name, ...result };
  const { answer, failure } = result;
  return failure === undefined ? { source: source.name, outcome: 'answer', answer } : failed(source, failure, answer);
}

const failed = (
  source: Source,
  { code, message }: Pick<SourceError, 'code' | 'message'>,
  partial?: Answer,
): Observation => ({
  source: source.name,
  outcome: 'failed',
  error: code,
  detail: message,
  ...(partial && { partial }),
});

const late = (source: Source): Observation =>
  failed(source, { code: 'timeout', message: `no answer in ${Math.round(source.timeoutMs)} ms` });
