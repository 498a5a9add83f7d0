/**
 * Runs of hooks that an agent before this one began (SYSTEMS.md, "KillMode"): a program that still runs is followed to its end,
 * and what was left to be done waits for the heart to ask for it.
 */
import type { Logger } from 'pino';
import type { Hand, HookOutcome } from '../hand/hand.ts';
import { STEP_DIRECTORY } from '../hand/hook-files.ts';
import type { Instant } from '../lifetime/types.ts';
import { hookFailure } from './hook-failure.ts';
import type { HookLog } from './hook-log.ts';
import type { HookRecord, HookRecords } from './hook-records.ts';

/** How long a run waits for the heart, which asks with its first step; after that it was through with it. */
const CLAIM_MS = 60_000;

export interface Leftover {
  readonly record: HookRecord;
  /** Of the program that still ran; null: none did. */
  readonly ended: Promise<HookOutcome | null>;
}

export interface Leftovers {
  /** Gives what is left of this run, once. The record is the caller's from then on. */
  claim(run: string): Leftover | undefined;
}

export interface LeftoverOptions {
  readonly records: HookRecords;
  readonly hand: Pick<Hand, 'hook'>;
  readonly log: Logger;
  readonly told: HookLog;
  now(): Instant;
  /** How the program of a step ended (hook-failure.ts): the heart may not have heard of it. Never called at once. */
  onStepEnded(run: string, file: string, failure: string | null): void;
}

/** Follows at once whatever runs. Never throws. */
export function openLeftovers({ records, hand, log, told, now, onStepEnded }: LeftoverOptions): Leftovers {
  const left = new Map([...records.left].map(([run, record]) => [run, { record, ended: adopt(record) }] as const));

  async function adopt(record: HookRecord): Promise<HookOutcome | null> {
    const outcome = await (record.program === null ? null : follow(record));
    const { run, directory, file } = record;
    const failure = outcome === null ? record.failure : hookFailure(file, outcome);
    if (directory === STEP_DIRECTORY && failure !== undefined) onStepEnded(run, file, failure);
    setTimeout(() => {
      if (left.delete(record.run)) records.remove(record.run);
    }, CLAIM_MS).unref();
    return outcome;
  }

  /** The record says afterwards that it has ended. */
  async function follow(record: HookRecord): Promise<HookOutcome> {
    const { run, directory, file, program, untilMs } = record;
    const shown = { hook: `${directory}/${file}`, run };
    log.info({ event: 'hook_followed', ...shown, pid: program?.pid }, 'a hook was running when the agent ended');
    const outcome = await hand.hook({
      directory,
      file,
      env: {},
      stdin: '',
      timeoutMs: Math.max(1, untilMs - now().wall),
      ...(program === null ? {} : { resume: program }),
      onLine: (stream, line) => told.line(shown, stream, line),
    });
    told.ended(directory === STEP_DIRECTORY ? 'step' : directory, shown, outcome);
    const failure = hookFailure(file, outcome);
    records.put({ ...record, program: null, ...(failure !== undefined && { failure }) });
    return outcome;
  }

  return {
    claim(run) {
      const found = left.get(run);
      left.delete(run);
      return found;
    },
  };
}
