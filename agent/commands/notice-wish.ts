/** What the operator wants, from the options of `mjf-agent notice`. Pure. */
import { durationMs } from '../duration.ts';
import { UsageError } from './command.ts';

export type NoticeWish =
  | {
      readonly does: 'announce';
      /** Body of `POST /v1/notices`. */
      readonly body: {
        readonly kind: 'shutdown' | 'drain';
        readonly at?: number;
        readonly in_secs?: number;
        readonly reason?: string;
      };
    }
  | { readonly does: 'cancel'; readonly id?: string }
  | { readonly does: 'ignore'; readonly id: string };

export interface NoticeOptions {
  readonly in?: string | undefined;
  readonly at?: string | undefined;
  readonly kind?: string | undefined;
  readonly reason?: string | undefined;
  readonly cancel?: boolean | undefined;
  readonly ignore?: string | undefined;
}

/** @throws UsageError when the options contradict each other or say nothing. */
export function wishOf(options: NoticeOptions, positionals: readonly string[], nowMs: number): NoticeWish {
  const announces = [options.in, options.at, options.kind, options.reason].some((value) => value !== undefined);
  const wishes = [options.cancel === true, options.ignore !== undefined, announces].filter(Boolean).length;
  if (wishes > 1) throw new UsageError('announce, --cancel and --ignore exclude each other');
  const [id] = positionals;
  if (options.cancel) return id === undefined ? { does: 'cancel' } : { does: 'cancel', id };
  if (id !== undefined) throw new UsageError(`unexpected "${id}"`);
  if (options.ignore !== undefined) return { does: 'ignore', id: options.ignore };

  const kind = options.kind ?? 'shutdown';
  if (kind !== 'shutdown' && kind !== 'drain') throw new UsageError(`--kind is shutdown or drain, got "${kind}"`);
  if (options.in !== undefined && options.at !== undefined) throw new UsageError('--in and --at exclude each other');
  if (kind === 'shutdown' && options.in === undefined && options.at === undefined) {
    throw new UsageError('a shutdown needs a time: --in 30m, or --at 2025-12-22T21:46:40Z');
  }
  return {
    does: 'announce',
    body: {
      kind,
      ...(options.in === undefined ? {} : { in_secs: secondsIn(options.in) }),
      ...(options.at === undefined ? {} : { at: secondsAt(options.at, nowMs) }),
      ...(options.reason === undefined ? {} : { reason: options.reason }),
    },
  };
}

function secondsIn(text: string): number {
  try {
    return durationMs(text) / 1000;
  } catch (error) {
    throw new UsageError(`--in: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** ISO 8601 with a time zone: a local time without one would mean another hour to site and machine. */
const ISO_8601 = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})$/;

function secondsAt(text: string, nowMs: number): number {
  const secs = /^\d{1,15}$/.test(text)
    ? Number(text)
    : ISO_8601.test(text)
      ? Math.floor(Date.parse(text) / 1000)
      : Number.NaN;
  if (!Number.isFinite(secs)) {
    throw new UsageError(`--at: expected UNIX seconds or ISO 8601 with a time zone, got "${text}"`);
  }
  if (secs * 1000 <= nowMs) throw new UsageError(`--at: ${text} lies in the past`);
  if (secs > 1e11) throw new UsageError(`--at: ${text} is too far off for UNIX seconds (are these milliseconds?)`);
  return secs;
}
