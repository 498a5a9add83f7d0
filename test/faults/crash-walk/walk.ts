/** Many runs of the story, one for each moment to die at: learns what moments there are, plays them, adds up. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { startZoo, type Zoo } from '../../support/zoo.ts';
import { type Moment, nameOf } from './plan.ts';
import type { Verdict } from './verdict.ts';

/** The built agent; another one can be put on trial. */
const PROGRAM =
  process.env['MJF_WALK_PROGRAM'] ?? fileURLToPath(new URL('../../../dist/mjf-agent.cjs', import.meta.url));

export interface Call {
  readonly n: number;
  readonly name: string;
  /** Path below the agent's directories, or pid and signal. */
  readonly target: string;
  /** Calls of one turn follow each other with nothing in between that anybody else could see. */
  readonly turn: number;
}

export interface Totals {
  /** Calls of the undisturbed story. */
  readonly calls: number;
  runs: number;
  crashes: number;
  /** Runs that made fewer calls than their moment. */
  missed: number;
  uncertain: number;
  lost: number;
  doubled: number;
  skipped: number;
  worstDelayMs: number;
  /** The run that had it. */
  worstDelayAt: string;
  /** Each with the moment at which the agent died. */
  readonly faults: string[];
}

export interface WalkOptions {
  readonly atOnce: number;
  /** One run of the story, judged. */
  play(run: Run): Promise<{ readonly verdict: Verdict; readonly crashed: boolean }>;
  choose(calls: readonly Call[]): readonly Moment[];
}

export interface Run {
  readonly program: string;
  /** Where its payloads live. */
  readonly zoo: Zoo;
  readonly shim: Moment | { readonly countInto: string };
}

/** The moments of a walk through these calls: before and after each, where that makes a difference. */
export function momentsThrough(
  calls: readonly Call[],
  isWanted: (call: Call) => boolean,
  tell: (text: string) => void,
): readonly Moment[] {
  const wanted = calls.filter(isWanted);
  const own = wanted.filter((call) => !isWrapper(call, calls));
  tell(`not walked: ${wanted.length - own.length} calls that only wrap the next one, which is walked`);
  const walked = new Set(own.map(({ n }) => n));
  const begun = own.filter((call) => !isContinuation(call, calls, walked));
  tell(`not walked before: ${own.length - begun.length} calls that follow at once on one walked after`);
  const beyond = Array.from({ length: BEYOND }, (_, index) => ({
    n: calls.length + index + 1,
    name: '',
    target: '',
    turn: 0,
  })).filter(isWanted);
  return [
    ...[...begun, ...beyond].map(({ n }): Moment => ({ n, when: 'before' })),
    ...[...own, ...beyond].map(({ n }): Moment => ({ n, when: 'after' })),
  ];
}

/** Asynchronous calls fall as they like, so that one run makes a few more than another: the walk goes on beyond N. */
const BEYOND = 4;

/**
 * Calls that only wrap the next one (Node makes its own within some): to die before either is the same, and so is to die
 * after the last of them.
 */
export const isWrapper = (call: Call, calls: readonly Call[]): boolean => {
  const inner = WRAPPED[call.name];
  const next = calls[call.n];
  return inner !== undefined && next?.target === call.target && inner.includes(next.name);
};
/**
 * To die before this call is to die after the one before it, which is walked: nothing else happens in between. Not after an
 * asynchronous one, whose end comes later.
 */
function isContinuation(call: Call, calls: readonly Call[], walked: ReadonlySet<number>): boolean {
  let before = calls[call.n - 2];
  while (before !== undefined && isWrapper(before, calls)) before = calls[before.n - 2];
  if (before === undefined || !walked.has(before.n)) return false;
  return before.turn === call.turn && /Sync$|^process\.kill$/.test(before.name);
}
const WRAPPED: Readonly<Record<string, readonly string[]>> = {
  writeFileSync: ['openSync'],
  rmSync: ['unlinkSync', 'rmdirSync'],
};

/** First a run that counts, then one for each chosen moment. What went wrong stands in `faults`; rejects for nothing. */
export async function walk(options: WalkOptions): Promise<Totals> {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-walk-program-'));
  const endings: (() => void | Promise<void>)[] = [];
  try {
    // A copy: somebody may build while we walk, and N must be that of one program.
    const program = path.join(dir, 'mjf-agent.cjs');
    fs.copyFileSync(PROGRAM, program);
    const countInto = path.join(dir, 'calls');
    const zoo = await startZoo({ after: (fn) => void endings.push(fn) }, path.join(dir, 'records'));
    const story = { program, zoo };
    const first = await options.play({ ...story, shim: { countInto } });
    const calls = parseCalls(fs.readFileSync(countInto, 'utf8'));
    const totals = begin(calls.length);
    add(totals, first.verdict, 'without a crash');
    const moments = [...options.choose(calls)];
    const worker = async (): Promise<void> => {
      for (let moment = moments.shift(); moment !== undefined; moment = moments.shift()) {
        await run(totals, () => options.play({ ...story, shim: moment }), describe(moment, calls));
      }
    };
    await Promise.all(Array.from({ length: options.atOnce }, worker));
    return totals;
  } finally {
    for (const end of endings) await end();
    fs.rmSync(dir, { recursive: true, force: true });
  }
}

async function run(totals: Totals, play: () => ReturnType<WalkOptions['play']>, name: string): Promise<void> {
  totals.runs += 1;
  try {
    const { verdict, crashed } = await play();
    if (crashed) totals.crashes += 1;
    else totals.missed += 1;
    add(totals, verdict, name);
  } catch (error) {
    totals.faults.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** What is to be read at the end of a walk. */
export function report({ calls, ...sum }: Totals): string {
  return [
    `N = ${calls}, runs ${sum.runs}, crashes ${sum.crashes}, never reached ${sum.missed}`,
    `uncertain ${sum.uncertain}, lost ${sum.lost}, doubled ${sum.doubled}, collapsed ${sum.skipped}`,
    `worst delay of a step after its due instant or the restart ${sum.worstDelayMs} ms (${sum.worstDelayAt})`,
  ].join('; ');
}

function begin(calls: number): Totals {
  const nothing = { uncertain: 0, lost: 0, doubled: 0, skipped: 0, worstDelayMs: 0, worstDelayAt: '' };
  return { calls, runs: 0, crashes: 0, missed: 0, ...nothing, faults: [] };
}

function add(totals: Totals, verdict: Verdict, name: string): void {
  for (const key of ['uncertain', 'lost', 'doubled', 'skipped'] as const) totals[key] += verdict[key];
  if (verdict.worstDelayMs > totals.worstDelayMs) {
    totals.worstDelayMs = verdict.worstDelayMs;
    totals.worstDelayAt = name;
  }
  for (const fault of verdict.faults) totals.faults.push(`${name}: ${fault}`);
}

/** The call is that of the undisturbed run: in another one the n-th may be a neighbour of it. */
function describe(moment: Moment, calls: readonly Call[]): string {
  const call = calls[moment.n - 1];
  return `${nameOf(moment)}${call === undefined ? '' : ` (${call.name} ${call.target})`}`;
}

function parseCalls(text: string): readonly Call[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [n, name = '', target = '', turn] = line.split('\t');
      return { n: Number(n), name, target: target.replace(/^.*\/agent\//, ''), turn: Number(turn) };
    });
}
