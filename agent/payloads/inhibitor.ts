/**
 * logind's delay inhibitor (systemd.io, "Inhibitor Locks"): while it is held, a shutdown waits for us, at most
 * InhibitDelayMaxSec. The lock is a file descriptor, which Node cannot receive; so `systemd-inhibit` holds it for as long as
 * its own child, `cat`, waits for the end of our pipe. An agent that dies lets go of it.
 */
import type { ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import { type SpawnResult, spawnClean } from '../spawn-clean.ts';

export interface Inhibitor {
  /** Whether there is anything to protect. Taken and released in the background; cheap when nothing changes. */
  update(payloadsAlive: boolean): void;
  /** Whether logind has granted the lock and we have not given it back. */
  held(): boolean;
  /** Gives it back for good. Keeps no process alive. */
  close(): void;
}

export interface InhibitorOptions {
  readonly log: Logger;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Of the system bus, where the configuration names one; else by `env`. */
  readonly busAddress?: string;
  /** How soon a lock that was refused or lost is asked for again: at first, and at most. */
  readonly retryMs?: { readonly first: number; readonly last: number };
}

const ARGS = ['--what=shutdown', '--mode=delay', '--who=mjf-agent', '--why=payloads are running', 'cat'];
/** `cat` gives it back, and runs only once the lock is taken. */
const PROBE = 'held\n';
/** systemd-inhibit itself waits 25 s for logind. */
const START_TIMEOUT_MS = 30_000;
/** A child that ought to end gets so long before each next push. */
const PUSH_AFTER_MS = 1_000;
/** Output that is still on its way when the process has ended. */
const OUTPUT_GRACE_MS = 200;
/** A lock that was held so long counts as well held: what went wrong before is over. */
const WELL_HELD_MS = 10_000;
const DEFAULT_RETRY_MS = { first: 1_000, last: 60_000 };
const MAX_SAID = 200;

/** One child, from its start to its end. */
interface Lock {
  readonly child: ChildProcess;
  held: boolean;
  /** We want it to end. */
  ending: boolean;
  timer: NodeJS.Timeout | undefined;
  said: string;
}

export function openInhibitor({ log, env, busAddress, retryMs = DEFAULT_RETRY_MS }: InhibitorOptions): Inhibitor {
  let wanted = false;
  let closed = false;
  let lock: Lock | undefined;
  let retry: NodeJS.Timeout | undefined;
  let failures = 0;
  /** What the log was told last: one line for a condition, however often it is met. */
  let told: string | undefined;

  function start(): void {
    if (!wanted || closed || lock !== undefined || retry !== undefined) return;
    const spawned = spawnInhibit(env, busAddress);
    if ('error' in spawned) {
      // Neither will the next attempt find it: the next payload asks again.
      tell('info', spawned.error, `no delay inhibitor: systemd-inhibit cannot be started (${spawned.error})`);
      return;
    }
    const mine: Lock = { child: spawned.child, held: false, ending: false, timer: undefined, said: '' };
    lock = mine;
    arm(mine, START_TIMEOUT_MS, () => mine.child.kill('SIGKILL'));
    follow(mine, {
      onHeld: () => {
        if (mine.ending) return;
        mine.held = true;
        log.debug({ event: 'inhibitor_held' }, 'a shutdown waits for the payloads: the delay inhibitor is held');
        arm(mine, WELL_HELD_MS, () => {
          failures = 0;
          if (told !== undefined) log.info({ event: 'inhibitor_recovered' }, 'the delay inhibitor is held again');
          told = undefined;
        });
      },
      onEnd: (how) => ended(mine, how),
    });
  }

  function release(mine: Lock): void {
    if (mine.ending) return;
    // Only `cat` sees the end of the pipe; while systemd-inhibit still asks for the lock, nobody reads it.
    if (!mine.held) mine.child.kill('SIGTERM');
    mine.ending = true;
    mine.held = false;
    mine.child.stdin?.end();
    arm(mine, PUSH_AFTER_MS, () => {
      mine.child.kill('SIGTERM');
      arm(mine, PUSH_AFTER_MS, () => mine.child.kill('SIGKILL'));
    });
    log.debug({ event: 'inhibitor_released' }, 'the delay inhibitor is given back');
  }

  function ended(mine: Lock, how: string): void {
    clearTimeout(mine.timer);
    if (lock !== mine) return;
    lock = undefined;
    // Given back; meanwhile there may be a new payload.
    if (mine.ending) {
      start();
      return;
    }
    const said = mine.said.trim().split('\n')[0] ?? '';
    const why = said === '' ? how : said;
    const message = mine.held ? `the delay inhibitor was lost: ${why}` : `no delay inhibitor: ${why}`;
    tell('warn', message, `${message}; trying again as long as payloads run`);
    const delayMs = Math.min(retryMs.last, retryMs.first * 2 ** Math.min(16, failures));
    failures += 1;
    retry = setTimeout(
      () => {
        retry = undefined;
        start();
      },
      delayMs * (0.5 + Math.random() / 2),
    );
    retry.unref();
  }

  function tell(level: 'info' | 'warn', condition: string, message: string): void {
    if (told === condition) return;
    told = condition;
    log[level]({ event: 'inhibitor_not_held' }, message);
  }

  function update(payloadsAlive: boolean): void {
    if (closed || payloadsAlive === wanted) return;
    wanted = payloadsAlive;
    if (wanted) start();
    else {
      clearTimeout(retry);
      retry = undefined;
      if (lock !== undefined) release(lock);
    }
  }

  return {
    update,
    held: () => lock?.held === true,
    close() {
      update(false);
      closed = true;
    },
  };
}

/** At most one timer at a time; none keeps the process alive. */
function arm(lock: Lock, afterMs: number, action: () => void): void {
  clearTimeout(lock.timer);
  lock.timer = setTimeout(action, afterMs);
  lock.timer.unref();
}

function spawnInhibit(env: InhibitorOptions['env'], busAddress: string | undefined): SpawnResult {
  const bus = busAddress ?? env['DBUS_SYSTEM_BUS_ADDRESS'];
  return spawnClean('systemd-inhibit', ARGS, {
    // Its messages are for the log: not translated.
    env: {
      LC_ALL: 'C',
      ...(env['PATH'] === undefined ? {} : { PATH: env['PATH'] }),
      ...(bus === undefined ? {} : { DBUS_SYSTEM_BUS_ADDRESS: bus }),
    },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
}

function follow(lock: Lock, told: { onHeld(): void; onEnd(how: string): void }): void {
  const { child } = lock;
  let over = false;
  const end = (how: string): void => {
    if (over) return;
    over = true;
    told.onEnd(how);
  };
  child.on('error', (error) => end(error.message));
  child.once('exit', (code, signal) => {
    const how = `systemd-inhibit ended with ${signal ?? code}`;
    child.once('close', () => end(how));
    // Should anything else hold the pipes, they never close.
    setTimeout(() => end(how), OUTPUT_GRACE_MS).unref();
  });
  child.stdout?.once('data', told.onHeld);
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    lock.said = (lock.said + text).slice(0, MAX_SAID);
  });
  // It may have ended before it is asked: that shows as its end.
  child.stdin?.on('error', () => undefined);
  child.stdin?.write(PROBE);
  child.unref();
  for (const pipe of [child.stdin, child.stdout, child.stderr]) (pipe as Socket | null)?.unref();
}
