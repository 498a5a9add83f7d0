/** The truth as it changes, for ever, also over restarts of the daemon: by hanging GETs. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type DaemonAnswer, request } from '../client.ts';
import { type LifetimeDocument, parseLifetime } from './lifetime-document.ts';

/** How much later than promised the end of a hanging GET may come. */
const SLACK_MS = 10_000;
/** Between attempts to reach a daemon that restarts, and the least between two equal answers: no busy loop, ever. */
const RETRY_MS = 1000;

export type Followed =
  /** The first one, and each that differs from the one before. */
  | { readonly is: 'document'; readonly lifetime: LifetimeDocument; readonly body: Buffer }
  /** Once each: nobody answers any more, and somebody does again. */
  | { readonly is: 'lost' }
  | { readonly is: 'back' }
  /** At the very first attempt; nothing follows. */
  | { readonly is: 'refused'; readonly answer: DaemonAnswer };

export interface FollowOptions {
  readonly runtimeDir: string;
  /** Of one hanging GET; short enough that a half-dead connection is noticed. */
  readonly hangSecs: number;
  /** Ends it. */
  readonly signal?: AbortSignal;
}

export async function* follow({ runtimeDir, hangSecs, signal }: FollowOptions): AsyncGenerator<Followed> {
  let etag: string | undefined;
  let isLost = false;
  const isOver = (): boolean => signal?.aborted === true;
  const pause = (): Promise<unknown> => sleep(RETRY_MS, undefined, signal && { signal }).catch(() => undefined);
  while (!isOver()) {
    const askedMs = performance.now();
    const answer = await ask(runtimeDir, hangSecs, isLost ? undefined : etag, signal);
    if (isOver()) return;
    const lifetime = 'unreachable' in answer || answer.status !== 200 ? undefined : parseLifetime(answer.body);
    if ('unreachable' in answer || lifetime === undefined) {
      if (etag === undefined) {
        yield { is: 'refused', answer };
        return;
      }
      if (!isLost) yield { is: 'lost' };
      isLost = true;
      await pause();
      continue;
    }
    if (isLost) yield { is: 'back' };
    isLost = false;
    const answered = String(answer.headers.etag ?? '');
    if (answered !== etag) yield { is: 'document', lifetime, body: answer.body };
    // A server that does not hang would make this a busy loop.
    else if (performance.now() - askedMs < RETRY_MS) await pause();
    etag = answered;
  }
}

function ask(
  runtimeDir: string,
  hangSecs: number,
  etag: string | undefined,
  signal: AbortSignal | undefined,
): Promise<DaemonAnswer> {
  const wait = `?wait_for_change=true&last_etag=${encodeURIComponent(etag ?? '')}&timeout_sec=${hangSecs}`;
  return request({
    channel: 'agent',
    runtimeDir,
    method: 'GET',
    path: `/v1/lifetime${etag === undefined ? '' : wait}`,
    timeoutMs: etag === undefined ? SLACK_MS : hangSecs * 1000 + SLACK_MS,
    ...(signal !== undefined && { signal }),
  });
}
