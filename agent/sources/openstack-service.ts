/**
 * A machine with a config drive may have no metadata service, by the site's choice: then its silence is no failure that
 * would mark the drive's values as stale, and it is asked ever more rarely. A service that has answered once is expected to.
 */
import type { Logger } from 'pino';
import type { PartReport } from './parts.ts';
import { type ReadContext, SourceError } from './source.ts';

export interface ServiceWatch {
  /** The reading of the drive, told to the watch: whether there is one decides what silence means. */
  watchDrive(
    read: (signal: AbortSignal) => Promise<PartReport | undefined>,
  ): (signal: AbortSignal) => Promise<PartReport | undefined>;
  /** A question put to the service; a report of nothing in place of a failure that is none. */
  guarded(ask: () => Promise<PartReport>, context: ReadContext): Promise<PartReport>;
}

/** After the first silence, and twice as long after each further one … */
const FIRST_PAUSE_MS = 60_000;
/** … up to this: a service that a site switches on later is found within the hour. */
const LAST_PAUSE_MS = 3_600_000;

export function createServiceWatch(log: Logger): ServiceWatch {
  let drive: Promise<boolean> = Promise.resolve(false);
  let answered = false;
  let silences = 0;
  let notBeforeMs = Number.NEGATIVE_INFINITY;

  function isQuiet(error: SourceError): void {
    const nowMs = performance.now();
    // The documents are asked for together: their silences are one.
    if (nowMs < notBeforeMs) return;
    notBeforeMs = nowMs + Math.min(LAST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(16, silences));
    silences += 1;
    if (silences > 1) return;
    log.info(
      { event: 'openstack_drive_only', error: error.code },
      `openstack: no metadata service (${error.message}); the config drive alone counts`,
    );
  }

  return {
    watchDrive: (read) => (signal) => {
      const reading = read(signal);
      drive = reading.then(
        (report) => report !== undefined,
        () => false,
      );
      return reading;
    },
    async guarded(ask, { fresh, signal }) {
      if (!answered && !fresh && performance.now() < notBeforeMs) return { unasked: true };
      try {
        const report = await ask();
        answered = true;
        return report;
      } catch (error) {
        if (answered || !(error instanceof SourceError) || signal.aborted || !(await drive)) throw error;
        isQuiet(error);
        return { unasked: true };
      }
    },
  };
}
