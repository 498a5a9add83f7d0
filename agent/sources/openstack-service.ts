/**
 * A machine with a config drive may have no metadata service, by the site's choice: then its silence is no failure that
 * would mark the drive's values as stale, and it is asked ever more rarely. A service that has answered once is expected to.
 */
import type { Logger } from 'pino';
import type { PartReport } from './parts.ts';
import { type ReadContext, SourceError } from './source.ts';

export interface ServiceWatch {
  /** The reading of the drive, told to the watch: whether there is one decides what silence means. */
  watchDrive<T>(read: (signal: AbortSignal) => Promise<T | undefined>): (signal: AbortSignal) => Promise<T | undefined>;
  /** A question put to the service; a report of nothing in place of a failure that is none. */
  guarded(name: string, ask: () => Promise<PartReport>, context: ReadContext): Promise<PartReport>;
  /** Whether the last question of this name failed. */
  isFailing(name: string): boolean;
  /** Fulfilled when no question is on its way any more, or patience with the service is over. */
  settled(): Promise<void>;
}

/** After the first silence, and twice as long after each further one … */
const FIRST_PAUSE_MS = 60_000;
/** … up to this: a service that a site switches on later is found within the hour. */
const LAST_PAUSE_MS = 3_600_000;
/** A time that the site has taken back since the drive was written must not be in force until the next poll. */
const PATIENCE_MS = 1_000;

export function createServiceWatch(log: Logger): ServiceWatch {
  let drive: Promise<boolean> = Promise.resolve(false);
  const asking = new Set<Promise<unknown>>();
  const failing = new Set<string>();
  let answered = false;
  let silences = 0;
  let notBeforeMs = Number.NEGATIVE_INFINITY;

  async function guarded(ask: () => Promise<PartReport>, { fresh, signal }: ReadContext): Promise<PartReport> {
    if (!answered && !fresh && performance.now() < notBeforeMs) return { unasked: true };
    try {
      const report = await ask();
      answered = true;
      return report;
    } catch (error) {
      if (answered || !(error instanceof SourceError) || signal.aborted || !(await drive)) throw error;
      wasSilent(error);
      return { unasked: true };
    }
  }

  function wasSilent(error: SourceError): void {
    const nowMs = performance.now();
    // The documents are asked for together: their silences are one.
    if (nowMs < notBeforeMs) return;
    notBeforeMs = nowMs + Math.min(LAST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(16, silences));
    silences += 1;
    if (silences > 1) return;
    log.info(
      { event: 'openstack_drive_only', source: 'openstack', error: error.code },
      `openstack: no metadata service (${error.message}); the config drive alone counts`,
    );
  }

  return {
    watchDrive: (read) => (signal) => {
      const reading = read(signal);
      drive = reading.then(
        (found) => found !== undefined,
        () => false,
      );
      return reading;
    },
    guarded: (name, ask, context) => guarded(() => tracked(name, ask), context),
    isFailing: (name) => failing.has(name),
    async settled() {
      let timer: NodeJS.Timeout | undefined;
      const patience = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, PATIENCE_MS);
        timer.unref();
      });
      await Promise.race([Promise.allSettled(asking), patience]);
      clearTimeout(timer);
    },
  };

  async function tracked(name: string, ask: () => Promise<PartReport>): Promise<PartReport> {
    const question = ask();
    asking.add(question);
    try {
      const report = await question;
      failing.delete(name);
      return report;
    } catch (error) {
      failing.add(name);
      throw error;
    } finally {
      asking.delete(question);
    }
  }
}
