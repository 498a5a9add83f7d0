/**
 * Which hook programs run, for an agent that is started while they do (SYSTEMS.md, "KillMode"). One small file a run in the
 * journal's directory, which lives on tmpfs: only crashes of the process matter, so that nothing is synced.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import type { HookProgram } from '../hand/hand.ts';
import { makeDir } from '../make-dir.ts';

/** How far a run has come. */
export interface HookRecord {
  readonly run: string;
  /** `stopping/10-tell`: the last file that was started. */
  readonly directory: string;
  readonly file: string;
  /** null: it has ended, the run goes on with the next file. */
  readonly program: HookProgram | null;
  /** No file is left to be run: only the heart has still to be told. */
  readonly over: boolean;
  /** Of a step whose program has ended: what the site is told of it (hook-failure.ts); null: it ended well. Absent: not known. */
  readonly failure?: string | null;
  /** UNIX ms: when the program's time is over. */
  readonly untilMs: number;
}

export interface HookRecords {
  /** Those of an earlier agent of this boot. */
  readonly left: ReadonlyMap<string, HookRecord>;
  /** Never throws; that it cannot be written is told once. */
  put(record: HookRecord): void;
  remove(run: string): void;
}

export interface HookRecordOptions {
  readonly dir: string;
  readonly procRoot: string;
  onError(detail: string): void;
}

/** What a record takes with names of 255 bytes. */
const MAX_BYTES = 8_192;

/** What we put there, and what a crash leaves of it (the private directory in which a program's pipes are made too). */
const OURS = /^(run-.*\.json(\.new)?|hook-[A-Za-z0-9]{6})$/;

/** Reads what is left and forgets what is damaged or from another boot, where pids mean nothing. Never throws. */
export function openHookRecords({ dir, procRoot, onError }: HookRecordOptions): HookRecords {
  const boot = bootId(procRoot);
  let told = false;
  const trying = (what: string, action: () => void): void => {
    try {
      action();
      told = false;
    } catch (error) {
      if (!told) onError(`${what}: ${(error as Error).message}`);
      told = true;
    }
  };
  // A digest: an id of any length and content has a name of its own.
  const fileOf = (run: string): string => path.join(dir, `run-${createHash('sha256').update(run).digest('hex')}.json`);
  const left = new Map<string, HookRecord>();
  trying('hook records cannot be read', () => {
    makeDir(dir, 0o700);
    for (const name of fs.readdirSync(dir)) {
      if (!OURS.test(name)) continue;
      const file = path.join(dir, name);
      const record = name.endsWith('.json') ? readRecord(file, boot) : null;
      if (record === null || fileOf(record.run) !== file) fs.rmSync(file, { recursive: true, force: true });
      else left.set(record.run, record);
    }
  });
  return {
    left,
    put(record) {
      trying('a hook record cannot be written', () => {
        const file = fileOf(record.run);
        fs.writeFileSync(`${file}.new`, JSON.stringify({ ...record, boot }), { mode: 0o600 });
        fs.renameSync(`${file}.new`, file);
      });
    },
    remove(run) {
      trying('a hook record cannot be removed', () => fs.rmSync(fileOf(run), { force: true }));
    },
  };
}

function bootId(procRoot: string): string {
  try {
    return fs.readFileSync(path.join(procRoot, 'sys/kernel/random/boot_id'), 'latin1').trim();
  } catch {
    return '';
  }
}

/** null for whatever is not a whole record of this boot. */
function readRecord(file: string, boot: string): HookRecord | null {
  try {
    if (fs.statSync(file).size > MAX_BYTES) return null;
    const value: unknown = JSON.parse(fs.readFileSync(file, 'utf8'));
    if (!isObject(value) || value['boot'] !== boot) return null;
    const { run, directory, file: name, program, untilMs } = value;
    const over = value['over'] === true;
    if (typeof run !== 'string' || typeof directory !== 'string' || typeof name !== 'string') return null;
    if (typeof untilMs !== 'number' || !Number.isFinite(untilMs)) return null;
    const { failure } = value;
    const known = { run, directory, file: name, over, untilMs };
    if (program === null)
      return { ...known, program, ...((failure === null || typeof failure === 'string') && { failure }) };
    if (!isObject(program)) return null;
    const { pid, startTicks, pipes } = program;
    // A pid of 1 or below would make a signal to its group one to everybody.
    if (!Number.isSafeInteger(pid) || Number(pid) <= 1 || !Number.isSafeInteger(startTicks)) return null;
    const names = Array.isArray(pipes) ? pipes.filter((pipe): pipe is string => typeof pipe === 'string') : [];
    return { ...known, program: { pid: Number(pid), startTicks: Number(startTicks), pipes: names } };
  } catch {
    return null;
  }
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
