/** `systemctl` as a child to ask with: bounded in time and output. No bus library, no shell. */
import type { ChildProcess } from 'node:child_process';
import { spawnClean } from '../spawn-clean.ts';

export type SystemctlResult =
  | { readonly ok: true; readonly stdout: string }
  /** `code`: `not_found` (no systemctl), `timeout`, `too_long`, `failed`. `stdout` is what came before. */
  | { readonly ok: false; readonly code: string; readonly detail: string; readonly stdout: string };

/** A unit takes some 500 bytes, a slice with a hundred members 10 KiB. */
const MAX_OUTPUT_BYTES = 1024 * 1024;
/** Of a complaint, for the log. */
const MAX_DETAIL = 300;
/** What is still in the pipe when the process has ended. */
const OUTPUT_GRACE_MS = 200;

/** Runs it to its end, or to the end of its time. Never rejects. */
export function systemctl(
  args: readonly string[],
  { env, timeoutMs }: { readonly env: Readonly<Record<string, string | undefined>>; readonly timeoutMs: number },
): Promise<SystemctlResult> {
  const spawned = spawnClean('systemctl', ['--system', '--no-pager', ...args], {
    // In English and without colours, since it is read here.
    env: { LC_ALL: 'C', SYSTEMD_COLORS: '0', ...passed(env, 'PATH'), ...passed(env, 'DBUS_SYSTEM_BUS_ADDRESS') },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if ('error' in spawned)
    return Promise.resolve({ ok: false, code: 'not_found', detail: `systemctl: ${spawned.error}`, stdout: '' });
  return outcomeOf(spawned.child, timeoutMs);
}

function outcomeOf(child: ChildProcess, timeoutMs: number): Promise<SystemctlResult> {
  return new Promise((resolve) => {
    let bytes = 0;
    let stdout = '';
    let stderr = '';
    let late: NodeJS.Timeout | undefined;
    let over = false;
    const end = (result: SystemctlResult): void => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      clearTimeout(late);
      // Where it ended by itself this hits nothing: Node knows the child and its end.
      child.kill('SIGKILL');
      child.stdout?.destroy();
      child.stderr?.destroy();
      child.unref();
      resolve(result);
    };
    const fail = (code: string, detail: string): void => end({ ok: false, code, detail, stdout });
    const timer = setTimeout(() => fail('timeout', `systemctl did not end within ${timeoutMs} ms`), timeoutMs);
    const ended = (code: number | null, signal: string | null): void => {
      if (code === 0) end({ ok: true, stdout });
      else fail('failed', `systemctl ended with ${signal ?? code}: ${excerpt(stderr)}`);
    };
    const take = (chunk: string): boolean => {
      bytes += chunk.length;
      if (bytes > MAX_OUTPUT_BYTES) fail('too_long', `systemctl gave more than ${MAX_OUTPUT_BYTES} bytes`);
      return !over;
    };
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      if (take(chunk)) stdout += chunk;
    });
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      if (take(chunk)) stderr += chunk;
    });
    child.once('error', (error) => fail('failed', `systemctl cannot be started: ${error.message}`));
    // A wrapper that leaves a child behind keeps the pipes open: `close` might never come.
    child.once('exit', (code, signal) => {
      late = setTimeout(() => ended(code, signal), OUTPUT_GRACE_MS);
    });
    child.once('close', ended);
  });
}

const passed = (env: Readonly<Record<string, string | undefined>>, name: string): Readonly<Record<string, string>> =>
  env[name] === undefined ? {} : { [name]: env[name] };

const excerpt = (text: string): string =>
  text
    .replace(/\p{Cc}+/gu, ' ')
    .trim()
    .slice(0, MAX_DETAIL);
