/**
 * Asks a VMware host for one guestinfo value, or tells it one, by whichever of its two tools is installed. No shell, bounded in
 * time, in output and in how many run at once: each question is a process.
 */
import type { ChildProcess } from 'node:child_process';
import path from 'node:path';
import { type SpawnResult, spawnClean } from '../spawn-clean.ts';
import { type SourceEnvironment, SourceError } from './source.ts';
import { isPrintableLine } from './told-values.ts';

export interface GuestInfo {
  /**
   * The value of `guestinfo.NAME` as it was written, or undefined where there is none.
   * @throws SourceError `no_channel` where there is no tool or no VMware host; `timeout`, `aborted`, `too_long`, `not_text`,
   * `tool_failed`.
   */
  get(name: string, signal: AbortSignal): Promise<string | undefined>;
  /**
   * Writes `guestinfo.NAME`. `value`: one printable line; the tool takes all that follows the name for it, blanks too.
   * @throws SourceError as `get`, `bad_value`.
   */
  set(name: string, value: string, signal: AbortSignal): Promise<void>;
  /** Ends what is running; nothing is started afterwards. */
  close(): void;
}

export interface GuestInfoOptions {
  /** In place of those in PATH. */
  readonly command?: string;
  /** Longest that one question may take, ms. */
  readonly timeoutMs: number;
}

/** Preferred first; both come with open-vm-tools. */
const TOOLS = ['vmtoolsd', 'vmware-rpctool'] as const;
/** A key's value is a line, `guestinfo.mjf` a page. */
const MAX_OUTPUT_BYTES = 64 * 1024;
/** The host answers one guest's calls one after the other; more at once only fill the memory. */
const MAX_AT_ONCE = 3;
/** Of a tool's complaint; the rest may be anything. */
const MAX_EXCERPT = 160;
/** The tools need little; the rest of our environment may hold secrets. */
const PASSED_VARIABLES = ['PATH', 'HOME', 'LD_LIBRARY_PATH'] as const;
/** Names go into a command that the tool takes apart by blanks. */
const NAME = /^[A-Za-z0-9_.-]{1,128}$/;

export function createGuestInfo(
  options: GuestInfoOptions,
  { env, trace }: Pick<SourceEnvironment, 'env' | 'trace'>,
): GuestInfo {
  const closing = new AbortController();
  const waiting: (() => void)[] = [];
  let atOnce = 0;
  /** The one that was there last time is asked first. */
  let tools: readonly string[] = options.command === undefined ? TOOLS : [options.command];

  async function slot(signal: AbortSignal): Promise<void> {
    if (atOnce >= MAX_AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve));
    else atOnce += 1;
    if (!signal.aborted) return;
    release();
    throw new SourceError('aborted', 'no longer wanted');
  }

  /** Handed on rather than given back, so that nobody slips in between. */
  function release(): void {
    const next = waiting.shift();
    if (next === undefined) atOnce -= 1;
    else next();
  }

  function start(question: string): { readonly child: ChildProcess; readonly tool: string } {
    let failed: SpawnResult | undefined;
    for (const tool of tools) {
      const args = path.basename(tool).startsWith('vmware-rpctool') ? [question] : ['--cmd', question];
      const spawned = spawnClean(tool, args, {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: childEnvironment(env),
        // A group of its own, so that what a wrapper script has started ends with it.
        detached: true,
      });
      if ('child' in spawned) {
        tools = [tool, ...tools.filter((other) => other !== tool)];
        return { child: spawned.child, tool };
      }
      failed = failed === undefined || spawned.error !== 'not_found' ? spawned : failed;
    }
    const error = failed !== undefined && 'error' in failed ? failed.error : 'not_found';
    if (error === 'not_found' && options.command === undefined)
      throw new SourceError('no_channel', 'neither vmtoolsd nor vmware-rpctool is installed (package open-vm-tools)');
    throw new SourceError('tool_failed', `${tools.join(', ')} cannot be started: ${error}`);
  }

  /** `value`: what is written; without it the question is what there is. */
  async function ask(name: string, wanted: AbortSignal, value?: string): Promise<string | undefined> {
    const signal = AbortSignal.any([wanted, closing.signal]);
    if (!NAME.test(name)) throw new SourceError('bad_name', `guestinfo.${name} is no name that can be asked for`);
    await slot(signal);
    const startedMs = performance.now();
    // What is written stays out of the trace, as what is read does.
    const shown = `${value === undefined ? 'info-get' : 'info-set'} guestinfo.${name}`;
    let answered = 'failed';
    let asked = 'vmtoolsd';
    try {
      const { child, tool } = start(value === undefined ? shown : `${shown} ${value}`);
      asked = path.basename(tool);
      const outcome = await outcomeOf(child, asked, options.timeoutMs, signal);
      if (value !== undefined) {
        if (outcome.code !== 0) throw complaintOf(outcome, asked);
        answered = 'taken';
        return undefined;
      }
      const got = judge(outcome, asked);
      answered = got === undefined ? 'absent' : 'present';
      return got;
    } catch (error) {
      if (error instanceof SourceError) answered = error.code;
      throw error;
    } finally {
      release();
      trace?.({ source: 'vmware', asked: `${asked} ${shown}`, answered, tookMs: performance.now() - startedMs });
    }
  }

  return {
    get: (name, signal) => ask(name, signal),
    async set(name, value, signal) {
      if (!isPrintableLine(value)) throw new SourceError('bad_value', `guestinfo.${name}: not one printable line`);
      // It cannot be set to nothing: the tool would miss an argument. A blank is how it is emptied, and is read as nothing.
      await ask(name, signal, value === '' ? ' ' : value);
    },
    close: () => closing.abort(),
  };
}

interface Outcome {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** Ends at the latest with the time bound, whatever became of the process. */
function outcomeOf(child: ChildProcess, tool: string, timeoutMs: number, signal: AbortSignal): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const output: { readonly [K in 'stdout' | 'stderr']: Buffer[] } = { stdout: [], stderr: [] };
    let bytes = 0;
    const settle = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', aborted);
    };
    const fail = (code: string, message: string): void => {
      settle();
      letGo(child);
      reject(new SourceError(code, message));
    };
    const aborted = (): void => fail('aborted', 'no longer wanted');
    const timer = setTimeout(() => fail('timeout', `${tool} did not end within ${timeoutMs} ms`), timeoutMs);
    timer.unref();
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream]?.on('error', () => undefined);
      child[stream]?.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > MAX_OUTPUT_BYTES) fail('too_long', `${tool} gave more than ${MAX_OUTPUT_BYTES} bytes`);
        else output[stream].push(chunk);
      });
    }
    child.once('error', (error) => fail('tool_failed', `${tool} cannot be started: ${error.message}`));
    child.once('close', (code, killedBy) => {
      settle();
      const stderr = Buffer.concat(output.stderr).toString('latin1');
      resolve({ code, signal: killedBy, stdout: Buffer.concat(output.stdout), stderr });
    });
    if (signal.aborted) aborted();
    else signal.addEventListener('abort', aborted, { once: true });
  });
}

/**
 * The tools say "there is none" by exit code 1, most with the words `No value found`, or by saying nothing at all. What they
 * complain of beyond that is no answer.
 */
function judge({ code, signal, stdout, stderr }: Outcome, tool: string): string | undefined {
  if (code === 0) {
    const text = textOf(stdout, tool);
    return text.trim() === '' || /^no value found$/i.test(text.trim()) ? undefined : text;
  }
  const complaint = wordsOf({ stdout, stderr });
  if (code === 1 && (complaint === '' || /no value found/i.test(complaint))) return undefined;
  throw complaintOf({ code, signal, stdout, stderr }, tool);
}

const wordsOf = ({ stdout, stderr }: Pick<Outcome, 'stdout' | 'stderr'>): string =>
  `${stderr}\n${stdout.toString('latin1')}`.trim();

function complaintOf(outcome: Outcome, tool: string): SourceError {
  const { code, signal } = outcome;
  const complaint = wordsOf(outcome);
  if (/must be run inside a virtual machine/i.test(complaint))
    return new SourceError('no_channel', `${tool}: this is no virtual machine of VMware`);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what a tool writes goes into a log line
  const excerpt = complaint.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').slice(0, MAX_EXCERPT);
  return new SourceError('tool_failed', `${tool} ended with ${signal ?? `exit code ${code}`}: ${excerpt}`);
}

function textOf(stdout: Buffer, tool: string): string {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(stdout);
    if (!text.includes('\0')) return text;
  } catch {
    // Falls through: not UTF-8.
  }
  throw new SourceError('not_text', `${tool}: the value is no text`);
}

/**
 * The whole group: a wrapper's children outlive it. Its number stays taken as long as anybody is in it, so also where the
 * wrapper itself has ended and one that it left behind holds the pipes open.
 */
function letGo(child: ChildProcess): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  } catch {
    // All of it has ended by itself.
  }
  child.stdout?.destroy();
  child.stderr?.destroy();
  child.unref();
}

function childEnvironment(env: SourceEnvironment['env']): NodeJS.ProcessEnv {
  const passed = PASSED_VARIABLES.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]] as const]));
  // The words that are looked for are English.
  return { ...Object.fromEntries(passed), LC_ALL: 'C' };
}
