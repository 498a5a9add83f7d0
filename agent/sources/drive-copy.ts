/** Has a drive that nobody mounted copied by a child of root, and leaves the child behind if the device hangs. */
import type { ChildProcess } from 'node:child_process';
import { spawnClean } from '../spawn-clean.ts';
import type { DriveLabel } from './drive-files.ts';
import { type SourceEnvironment, SourceError } from './source.ts';

export const COPY_COMMAND = '__copy-drive';

/** Starting this program on a slow, busy guest, and a drive that is spun up. */
export const COPY_TIMEOUT_MS = 15_000;
const MAX_ERROR_CHARS = 300;
/** Where unshare(1) lives; the rest of our environment is not meant for the child. */
const TOOL_PATH = '/usr/sbin:/usr/bin:/sbin:/bin';

/** Copiers that hang in the kernel, left behind, before no further one is started. */
const MAX_STUCK = 2;

export interface CopyWish {
  readonly label: DriveLabel;
  readonly device: string;
  /** Absolute path of the directory that is to hold the copy; replaced as a whole. */
  readonly target: string;
}

/**
 * For one drive: a function that is fulfilled when `target` holds the copy.
 * @throws SourceError `drive_unreadable` with what the child said, `hung`, `aborted`.
 */
export function createCopier(
  environment: Pick<SourceEnvironment, 'self' | 'env'>,
): (wish: CopyWish, signal: AbortSignal) => Promise<void> {
  let stuck = 0;
  return async (wish, signal) => {
    if (stuck >= MAX_STUCK)
      throw new SourceError('hung', `${wish.device} does not answer; ${stuck} copiers are stuck in it`);
    const child = start(wish, environment);
    try {
      await ended(child, wish.device, signal);
    } finally {
      if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) {
        stuck += 1;
        child.once('exit', () => {
          stuck -= 1;
        });
        letGo(child, child.pid);
      }
    }
  };
}

function start(
  { label, device, target }: CopyWish,
  { self, env }: Pick<SourceEnvironment, 'self' | 'env'>,
): ChildProcess {
  const args = ['--mount', '--', self.command, ...self.args, COPY_COMMAND, label, target, device];
  const spawned = spawnClean('unshare', args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: TOOL_PATH, ...(env['HOME'] === undefined ? {} : { HOME: env['HOME'] }) },
    // A group of its own, so that a hanging mount(8) ends with it.
    detached: true,
  });
  if ('error' in spawned) throw unreadable(device, `${spawned.command}: ${spawned.error}`);
  return spawned.child;
}

function ended(child: ChildProcess, device: string, signal: AbortSignal): Promise<void> {
  let said = '';
  child.stderr?.on('error', () => {});
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    said = (said + chunk).slice(0, MAX_ERROR_CHARS);
  });
  return new Promise((resolve, reject) => {
    const settle = (error?: SourceError): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      if (error === undefined) resolve();
      else reject(error);
    };
    const onAbort = (): void => settle(new SourceError('aborted', 'no longer wanted'));
    const timer = setTimeout(
      () => settle(new SourceError('hung', `${device} was not read within ${COPY_TIMEOUT_MS / 1000} s`)),
      COPY_TIMEOUT_MS,
    );
    child.once('error', (error) => settle(unreadable(device, error.message)));
    child.once('close', (code, killedBy) =>
      settle(code === 0 ? undefined : unreadable(device, said.trim() || `ended with ${killedBy ?? code}`)),
    );
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
  });
}

const unreadable = (device: string, why: string): SourceError =>
  new SourceError('drive_unreadable', `${device} cannot be read: ${why.replace(/\s+/g, ' ')}`);

/** A child that is stuck in the kernel ignores SIGKILL for a while; it must not keep us. */
function letGo(child: ChildProcess, pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
  child.stderr?.destroy();
  child.unref();
}
