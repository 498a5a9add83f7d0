/**
 * Tries regular expressions on command lines, bounded in time: a line is written by whoever starts the process, and there
 * are expressions that a well-chosen one keeps busy for years. JavaScript has no other way to break one off than node:vm.
 */
import vm from 'node:vm';
import type { Wanted } from './finder-match.ts';
import type { Told } from './finder-told.ts';

/** Thousands of lines in an ordinary case. On the main loop: signals wait for it. */
const TRIAL_MS = 100;
/** So many lines at a time, for the bound not to hit an honest crowd. */
const AT_ONCE = 256;
/** After so many at one look the rest waits for the next one. */
const MOST_FAILURES = 2;

export interface Trials {
  /** Starts a look. */
  begin(wanted: readonly Wanted[]): void;
  wantsUser(uid: number | null): boolean;
  /** To be tried for all that is wanted of this user; null = it could not be decided, ask again. */
  add(uid: number | null, line: string, done: (matches: readonly string[] | null) => void): void;
  run(): void;
}

interface Trial {
  readonly uid: number | null;
  readonly line: string;
  readonly done: (matches: readonly string[] | null) => void;
}

export function openTrials(told: Told): Trials {
  let wanted: readonly Wanted[] = [];
  let users = new Set<number | null>();
  let trials: Trial[] = [];
  /** Once is no proof: the machine itself may have been busy. */
  let slowBefore: ReadonlySet<string> = new Set();
  /** Made for the first line: it costs more than a megabyte. */
  let box: { readonly context: vm.Context; readonly script: vm.Script; work: () => void } | null = null;

  /** False: the time was over. */
  function bounded(work: () => void): boolean {
    if (box === null) {
      const context = vm.createContext(
        { work: () => box?.work() },
        { codeGeneration: { strings: false, wasm: false } },
      );
      box = { context, script: new vm.Script('work()'), work };
    }
    box.work = work;
    try {
      box.script.runInContext(box.context, { timeout: TRIAL_MS });
      return true;
    } catch (error) {
      // An Error of the other context, which is none of ours by `instanceof`.
      if ((error as NodeJS.ErrnoException | null)?.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') return false;
      throw error;
    }
  }

  /** Decides them in order; how many it came to in time, and at which expression it stopped. */
  function decide(some: readonly Trial[], results: (readonly string[])[], tried: { name: string }): void {
    for (const { uid, line } of some) {
      const matches: string[] = [];
      for (const one of wanted) {
        tried.name = one.payload.name;
        if (one.uid === uid && one.command.test(line)) matches.push(one.payload.name);
      }
      results.push(matches);
    }
  }

  return {
    begin(next) {
      wanted = next;
      users = new Set(next.map(({ uid }) => uid));
      trials = [];
    },
    wantsUser: (uid) => uid !== null && users.has(uid),
    add(uid, line, done) {
      trials.push({ uid, line, done });
    },
    run() {
      const slow = new Set<string>();
      let failures = 0;
      for (let at = 0; at < trials.length; ) {
        const some = trials.slice(at, at + AT_ONCE);
        const results: (readonly string[])[] = [];
        const tried = { name: '' };
        const inTime = failures < MOST_FAILURES && bounded(() => decide(some, results, tried));
        for (const [i, matches] of results.entries()) some[i]?.done(matches);
        at += results.length;
        if (inTime) continue;
        if (failures < MOST_FAILURES) slow.add(tried.name);
        failures += 1;
        trials[at]?.done(null);
        at += 1;
      }
      for (const { payload } of trials.length === 0 ? [] : wanted) {
        told(
          `${payload.name}/slow`,
          slow.has(payload.name) && slowBefore.has(payload.name) ? 'match_too_slow' : null,
          'warn',
          {
            payload: payload.name,
            message: `the expression of payload ${payload.name} takes too long on a command line, which is left out: make it simpler`,
          },
        );
      }
      if (trials.length > 0) slowBefore = slow;
      trials = [];
    },
  };
}
