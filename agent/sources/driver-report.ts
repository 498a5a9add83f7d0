/** What the log hears of a source: the first failure, a summary now and then, the recovery. Never one line a poll. */
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import type { Observation } from '../lifetime/types.ts';

export interface Reporter {
  report(observation: Observation, stack: string | undefined): void;
}

/** A night of failure is some sixty lines: enough to see it lasted, too few to fill a disk. */
const SUMMARY_EVERY_MS = 600_000;

export function createReporter(source: string, log: Logger, clock: Clock): Reporter {
  let row: { failures: number; readonly sinceMono: number; toldMono: number } | undefined;
  let toldInternal = false;
  let absent = false;
  let toldAbsentMono = Number.NEGATIVE_INFINITY;

  function fail(error: string, detail: string, stack: string | undefined): void {
    const { mono } = clock.now();
    if (stack !== undefined && !toldInternal) {
      toldInternal = true;
      log.error({ event: 'source_internal_error', source, stack }, `${source}: broke while reading: ${detail}`);
    }
    if (row === undefined) {
      row = { failures: 1, sinceMono: mono, toldMono: mono };
      log.warn({ event: 'source_failed', source, error, detail }, `${source}: failed (${error}): ${detail}`);
      return;
    }
    row.failures += 1;
    if (mono - row.toldMono < SUMMARY_EVERY_MS) return;
    row.toldMono = mono;
    const { failures } = row;
    const forSecs = Math.round((mono - row.sinceMono) / 1000);
    log.warn(
      { event: 'source_still_failing', source, error, detail, failures, for_secs: forSecs },
      `${source}: still failing (${error}), ${failures} times in ${forSecs} s`,
    );
  }

  function recover(how: string): void {
    if (row === undefined) return;
    const { failures } = row;
    const forSecs = Math.round((clock.now().mono - row.sinceMono) / 1000);
    row = undefined;
    log.info(
      { event: 'source_recovered', source, failures, for_secs: forSecs },
      `${source}: ${how} after ${failures} failures in ${forSecs} s`,
    );
  }

  return {
    report(observation, stack) {
      switch (observation.outcome) {
        case 'answer':
          absent = false;
          return recover('answers again');
        case 'failed':
          return fail(observation.error, observation.detail, stack);
        case 'no_channel': {
          recover('is not there any more,');
          const { mono } = clock.now();
          // A channel that comes and goes is told of like a failing one.
          if (!absent && mono - toldAbsentMono >= SUMMARY_EVERY_MS) {
            toldAbsentMono = mono;
            log.info(
              { event: 'source_no_channel', source, detail: observation.detail },
              `${source}: no channel here: ${observation.detail}`,
            );
          }
          absent = true;
        }
      }
    },
  };
}
