/**
 * Whether the daemon's word may take a deadline back (promise 1, SEMANTICS S3.8). A daemon that has just started, perhaps
 * without memory, has heard nobody yet and says "no deadline": that is no answer of the host's.
 */
import { parseObject, textOf } from './daemon-plan.ts';

/** A deadline by the notice's id (`mjf/shutdowntime`) and the source that said it. */
export interface KnownDeadline {
  readonly id: string;
  readonly source: string;
}

export interface DaemonWord {
  /** `/readyz`: every source has been asked once, or the time for that is over. */
  readonly ready: boolean;
  /** State by name. */
  readonly sources: ReadonlyMap<string, string>;
  /** Notices that the operator overrides. */
  readonly ignored: ReadonlySet<string>;
  /** The deadlines that it has heard of itself and that count. */
  readonly said: readonly KnownDeadline[];
}

/** null: this is no lifetime document. */
export function wordOf(body: Buffer, ready: boolean): DaemonWord | null {
  const document = parseObject(body);
  if (typeof document['phase'] !== 'string') return null;
  const notices = rowsOf(document['notices']);
  const named = (each: Record<string, unknown>): KnownDeadline => ({
    id: textOf(each['id']) ?? '',
    source: textOf(each['source']) ?? '',
  });
  return {
    ready,
    sources: new Map(rowsOf(document['sources']).map((each) => [String(each['name']), String(each['state'])])),
    ignored: new Set(notices.filter((each) => each['ignored'] === true).map((each) => named(each).id)),
    said: notices
      .filter(({ deadline, ignored, expired }) => typeof deadline === 'number' && ignored !== true && expired !== true)
      .map(named),
  };
}

/**
 * True when everybody who has named a deadline has answered this daemon well, or the operator has overridden what he said:
 * what the daemon says then is the whole truth, be it that there is no deadline. `own`: what `exec` has read itself; a channel
 * that the daemon does not have goes on counting. `told`: what the daemon, or the one before it, had said; a source that is
 * not configured any more, and the operator, are not waited for.
 */
export function settles(
  { ready, sources, ignored }: DaemonWord,
  own: readonly KnownDeadline[],
  told: readonly KnownDeadline[],
): boolean {
  const answered = ({ id, source }: KnownDeadline): boolean => sources.get(source) === 'ok' || ignored.has(id);
  return ready && own.every(answered) && told.every((each) => !sources.has(each.source) || answered(each));
}

function rowsOf(value: unknown): readonly Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter((each) => typeof each === 'object' && each !== null) : [];
}
