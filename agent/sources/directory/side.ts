/** One side (machine or job): which of its possible places is read, and what is told when that place fails. */
import type { Logger } from 'pino';
import type { FeatureReading, Reading, Side } from '../../lifetime/types.ts';
import { SourceError } from '../source.ts';
import { errorText } from './errno.ts';
import type { DirectoryReading } from './scan.ts';

export type SideOutcome =
  | { readonly kind: 'read'; readonly reading: FeatureReading }
  /** Never was there. */
  | { readonly kind: 'none'; readonly detail: string }
  /** `reading` is what to say when the other side is good: that nothing is known, key by key (S1.6: nothing is cleared). */
  | { readonly kind: 'failed'; readonly error: SourceError; readonly reading: FeatureReading };

export interface SideOptions {
  readonly side: Side;
  /** Places in order of preference, asked again as long as none gave keys. */
  readonly candidates: () => readonly string[];
  /** Whether it was a platform's metadata alone that named this place. */
  readonly isPointed: (path: string) => boolean;
  readonly read: (path: string, signal: AbortSignal) => Promise<DirectoryReading>;
  readonly log: Logger;
}

type GoodReading = Extract<DirectoryReading, { kind: 'read' }>;

export function createSide(options: SideOptions): { read(signal: AbortSignal): Promise<SideOutcome> } {
  const { side, log } = options;
  /** Once a place gave keys it is the channel; another one must not stand in for it unnoticed. */
  let chosen: string | undefined;
  let seen = false;
  let channel = 'dev:unknown';
  let knownKeys: readonly string[] = [];
  let lastError: string | undefined;
  const once = oncePer(log);

  const failed = (error: SourceError): SideOutcome => {
    if (error.code !== lastError) {
      lastError = error.code;
      log.warn({ event: 'directory_side_failed', side, error: error.code }, error.message);
    }
    // Nothing was ever read here: then at least the key that matters most is shown as not known.
    const names = knownKeys.length > 0 ? knownKeys : [side === 'machine' ? 'shutdowntime' : 'shutdowntime_job'];
    const unknown: Reading<string> = { is: 'unknown', error: error.code };
    const keys = Object.fromEntries(names.map((name) => [name, unknown]));
    return { kind: 'failed', error, reading: { channel, complete: false, keys } };
  };

  const good = (file: string, reading: GoodReading): SideOutcome => {
    if (lastError !== undefined) log.info({ event: 'directory_side_recovered', side }, `${file} is read again`);
    lastError = undefined;
    seen = true;
    channel = reading.channel;
    knownKeys = namesOf(reading);
    if (knownKeys.length > 0) chosen = file;
    const { complete, ignored, keys } = reading;
    once(ignored > 0, 'debug', 'directory_names_ignored', `${ignored} names in ${file} cannot be keys`);
    once(
      !complete,
      'warn',
      'directory_overfull',
      `${file} has too many entries: only known keys and the first are read`,
    );
    const pointed = options.isPointed(file) ? ({ pointed: true } as const) : {};
    return { kind: 'read', reading: { channel, complete, keys, ...pointed } };
  };

  return {
    async read(signal) {
      let empty: { file: string; reading: GoodReading } | undefined;
      const details: string[] = [];
      for (const file of chosen === undefined ? options.candidates() : [chosen]) {
        let reading: DirectoryReading;
        try {
          reading = await options.read(file, signal);
        } catch (error) {
          // The agent stops or the driver gave up: no word about the channel.
          if (signal.aborted) throw error;
          return failed(error instanceof SourceError ? error : new SourceError('internal', errorText(error)));
        }
        switch (reading.kind) {
          case 'read':
            // An empty one may be a mount point still waiting for its mount: a later place with keys goes before it.
            if (namesOf(reading).length > 0) return good(file, reading);
            empty ??= { file, reading };
            break;
          case 'failed':
            return failed(new SourceError(reading.code, reading.detail));
          case 'missing':
            details.push(`${file} is not there`);
            break;
          case 'own_output':
            details.push(`${file} leads to the agent's own output`);
            break;
          case 'foreign':
            return failed(new SourceError('internal', `${file} was refused by its own reader`));
        }
      }
      if (empty !== undefined) return good(empty.file, empty.reading);
      const detail = details.join(', ');
      return seen ? failed(new SourceError('directory_missing', detail)) : { kind: 'none', detail };
    },
  };
}

function namesOf(reading: GoodReading): readonly string[] {
  return Object.entries(reading.keys).flatMap(([name, value]) => (value.is === 'absent' ? [] : [name]));
}

/** Logs a condition when it begins, not as long as it lasts. */
function oncePer(log: Logger): (holds: boolean, level: 'debug' | 'warn', event: string, message: string) => void {
  const standing = new Set<string>();
  return (holds, level, event, message) => {
    if (!holds) standing.delete(event);
    else if (!standing.has(event)) {
      standing.add(event);
      log[level]({ event }, message);
    }
  };
}
