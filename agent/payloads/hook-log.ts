/** What the log and the metrics hear of hooks. */
import type { Logger } from 'pino';
import type { HookOutcome, HookProgram } from '../hand/hand.ts';
import type { HookList } from '../hand/hook-files.ts';

/** Left-out files are remembered, so that each is told once; with more of them some are told of again. */
const MAX_TOLD = 512;

/** A program of a run. */
export interface Shown {
  /** `stopping/10-tell`. */
  readonly hook: string;
  readonly run: string;
}

export interface HookLog {
  started(shown: Shown, program: HookProgram): void;
  /** It was started although a crash left open whether it had run (MJF_REPEATED=1). `event`: as below. */
  uncertain(event: string, shown: Shown): void;
  line(shown: Shown, stream: string, line: string): void;
  /** `event`: as in HookRun, the metric's label. */
  ended(event: string, shown: Shown, outcome: HookOutcome): void;
  skipped(event: string, run: string, files: readonly string[]): void;
  /** Once for each file and reason. */
  leftOut(directory: string, left: HookList['left']): void;
}

export function openHookLog(
  log: Logger,
  count: (metric: string, labels: Readonly<Record<string, string>>) => void,
): HookLog {
  const told = new Map<string, string>();
  const add = (event: string, outcome: string): void => count('mjf_hooks_total', { event, outcome });
  return {
    started(shown, { pid }) {
      log.info({ event: 'hook_started', ...shown, pid }, `hook ${shown.hook} started`);
    },
    uncertain(on, shown) {
      count('mjf_hooks_uncertain_total', {});
      log.warn(
        { event: 'hook_uncertain', on, ...shown },
        `hook ${shown.hook} is run with MJF_REPEATED=1: it is not known whether it ran before the crash`,
      );
    },
    line(shown, stream, line) {
      log.info({ event: 'hook_output', ...shown, stream, line }, `hook ${shown.hook} says`);
    },
    ended(event, shown, outcome) {
      const { level, name, words, fields } = wordsOf(outcome);
      add(event, name);
      log[level]({ event: `hook_${name}`, ...shown, ...fields }, `hook ${shown.hook} ${words}`);
    },
    skipped(event, run, files) {
      for (const _ of files) add(event, 'skipped');
      log.warn({ event: 'hook_skipped', on: event, run, files }, 'no time is left: these hooks are not run');
    },
    leftOut(directory, left) {
      for (const { file, why } of left) {
        const hook = `${directory}/${file}`;
        if (told.get(hook) === why) continue;
        if (told.size >= MAX_TOLD) told.clear();
        told.set(hook, why);
        log.warn({ event: 'hook_left_out', hook, why }, `hook ${hook} is left out: ${why}`);
      }
    },
  };
}

interface Words {
  readonly level: 'info' | 'warn';
  readonly name: 'ok' | 'failed' | 'unknown' | 'timeout' | 'not_run';
  readonly words: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

function wordsOf(outcome: HookOutcome): Words {
  if (outcome.is === 'not_run') {
    const { code, detail } = outcome;
    return { level: 'warn', name: 'not_run', words: `is not run: ${detail}`, fields: { code } };
  }
  const { ms } = outcome;
  if (outcome.is === 'timeout') {
    return { level: 'warn', name: 'timeout', words: 'was ended: its time was over', fields: { ms } };
  }
  const { code, signal } = outcome;
  const fields = { code, signal, ms };
  if (code === 0) return { level: 'info', name: 'ok', words: 'ended well', fields };
  if (code === null && signal === null)
    return { level: 'info', name: 'unknown', words: 'has ended; how is not known', fields };
  return { level: 'warn', name: 'failed', words: `ended with ${signal ?? `exit code ${code}`}`, fields };
}
