/**
 * The parent's side of the reader children, one for each foreign mount: asks, waits with a bound, and leaves a stuck
 * child behind instead of waiting for it (SYSTEMS.md, "Hung shares"). Nothing here holds up the end of the process.
 */
import { SourceError } from '../source.ts';
import { type ReaderChild, type ReaderEnvironment, startReader } from './reader-process.ts';
import type { DirectoryReading } from './scan.ts';
import { processIdentity, strayReaders } from './strays.ts';

/** Stuck children left behind per mount: each keeps 41 MB resident, 7 of its own. */
const MAX_ABANDONED = 2;
/** Before another child is tried on a mount that failed: a share that kills at once would cost a program start per poll. */
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 5_000;
/** A killed child that ends within this was not stuck, so its end says nothing of the share. */
const STUCK_AFTER_MS = 500;

export interface Readers {
  /**
   * Has the directory at `path` read by the child of this mount. Throws SourceError: `hung` (no answer in HUNG_AFTER_MS,
   * or too many stuck children already), `reader_failed` (the child did not start or broke), `aborted`.
   */
  read(mountPoint: string, path: string, signal: AbortSignal): Promise<DirectoryReading>;
  /** Ends the children of mounts that are no longer read. */
  retain(mountPoints: ReadonlySet<string>): void;
  close(): void;
}

export interface ReadersOptions {
  readonly environment: ReaderEnvironment;
  /** Where procfs is mounted. */
  readonly proc: string;
  /** A stuck child came back: the share may answer again. */
  readonly onReturn: () => void;
}

/** One mount: at most one child that is asked, those that are stuck, and when to try again. */
interface MountState {
  child: ReaderChild | undefined;
  readonly abandoned: Set<number>;
  failuresInRow: number;
  notBeforeMs: number;
  lastError: SourceError | undefined;
}

/** No child is started before the first `read`. */
export function createReaders(options: ReadersOptions): Readers {
  const { log } = options.environment;
  const states = new Map<string, MountState>();
  const givenUp = new WeakSet<ReaderChild>();
  const self = processIdentity(options.proc, 'self') ?? `${process.pid}:0`;

  const stateOf = (mountPoint: string): MountState => {
    const known = states.get(mountPoint);
    if (known !== undefined) return known;
    const state: MountState = {
      child: undefined,
      abandoned: new Set(),
      failuresInRow: 0,
      notBeforeMs: 0,
      lastError: undefined,
    };
    states.set(mountPoint, state);
    return state;
  };

  const countAbandoned = (mountPoint: string, state: MountState): number => {
    if (state.abandoned.size >= MAX_ABANDONED) return state.abandoned.size;
    const strays = strayReaders(options.proc, mountPoint, self, livePids());
    return new Set([...strays, ...state.abandoned]).size;
  };
  const livePids = (): ReadonlySet<number> =>
    new Set([...states.values()].flatMap(({ child }) => (child?.pid === undefined ? [] : [child.pid])));

  const failed = (state: MountState, error: SourceError): void => {
    state.lastError = error;
    state.notBeforeMs = performance.now() + Math.min(FIRST_PAUSE_MS * 2 ** state.failuresInRow, LONGEST_PAUSE_MS);
    state.failuresInRow += 1;
  };

  const abandon = (mountPoint: string, state: MountState, child: ReaderChild): void => {
    const { pid } = child;
    const killedMs = performance.now();
    child.kill(() => {
      if (pid !== undefined) state.abandoned.delete(pid);
      if (performance.now() - killedMs < STUCK_AFTER_MS) return;
      log.info({ event: 'reader_returned', mount: mountPoint, pid }, 'a stuck reader of a host share has ended');
      state.notBeforeMs = 0;
      state.failuresInRow = 0;
      options.onReturn();
    });
    if (pid !== undefined) state.abandoned.add(pid);
  };

  const childOf = (mountPoint: string, state: MountState): ReaderChild => {
    if (state.child !== undefined) return state.child;
    if (performance.now() < state.notBeforeMs && state.lastError !== undefined) throw state.lastError;
    const stuck = countAbandoned(mountPoint, state);
    if (stuck >= MAX_ABANDONED) {
      throw new SourceError('hung', `${mountPoint} does not answer; ${stuck} readers are stuck in it`);
    }
    let child: ReaderChild | undefined;
    child = startReader(mountPoint, self, options.environment, () => {
      if (state.child === child) state.child = undefined;
    });
    state.child = child;
    return child;
  };

  return {
    async read(mountPoint, file, signal) {
      const state = stateOf(mountPoint);
      const child = childOf(mountPoint, state);
      try {
        const reading = await child.ask(file, options.environment.runtimeDir, signal);
        state.failuresInRow = 0;
        return reading;
      } catch (error) {
        if (!(error instanceof SourceError) || error.code === 'aborted') throw error;
        // The other side's request to the same child may have dealt with it already.
        if (!givenUp.has(child)) {
          givenUp.add(child);
          if (state.child === child) state.child = undefined;
          failed(state, error);
          if (error.code === 'hung') abandon(mountPoint, state, child);
          else child.kill();
        }
        throw error;
      }
    },
    retain(mountPoints) {
      for (const [mountPoint, state] of states) {
        if (mountPoints.has(mountPoint)) continue;
        state.child?.kill();
        state.child = undefined;
        if (state.abandoned.size === 0) states.delete(mountPoint);
      }
    },
    close() {
      for (const state of states.values()) {
        state.child?.kill();
        state.child = undefined;
      }
    },
  };
}
