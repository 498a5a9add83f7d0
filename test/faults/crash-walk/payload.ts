/** A payload that ignores every signal but SIGKILL and writes down each one that it gets, with the time. */
import fs from 'node:fs';
import { type Ending, startPayload, startTicksOf, type TestPayload, untilDead } from '../../support/processes.ts';
import type { PayloadPlan } from './plan.ts';

export interface Received {
  /** `leader` or `child`. */
  readonly member: string;
  readonly signal: string;
  readonly atMs: number;
}

export interface RecordingPayload {
  readonly plan: PayloadPlan;
  readonly pid: number;
  readonly members: readonly string[];
  received(): readonly Received[];
  /** Fulfils when all members are dead: by which signal the leader ended, and when. */
  readonly dead: Promise<{ readonly by: string | null; readonly atMs: number }>;
}

/**
 * Standing alone, since the child runs it too. One write a line: what was received is on file even if it dies at once. All
 * share the leader's standard input, which ends with the test: nobody outlives a test that is killed.
 */
const RECORDER = `
const fs = require('node:fs');
const [file, member] = process.env.WALK_RECORD.split('|');
for (const signal of ['SIGUSR1', 'SIGUSR2', 'SIGTERM'])
  process.on(signal, () => fs.appendFileSync(file, member + ' ' + signal + ' ' + Date.now() + '\\n'));
process.stdin.on('end', () => process.exit(1)).on('error', () => process.exit(1)).resume();
setInterval(() => {}, 1 << 30);
fs.writeSync(1, 'ready\\n');
`;

const LEADER = (file: string, child: boolean): string => `
const begin = () => { process.env.WALK_RECORD = ${JSON.stringify(`${file}|leader`)}; ${RECORDER} };
if (${child}) {
  const env = { ...process.env, WALK_RECORD: ${JSON.stringify(`${file}|child`)} };
  const child = spawn(process.execPath, ['-e', ${JSON.stringify(RECORDER)}], { stdio: ['inherit', 'pipe', 'inherit'], env });
  child.stdout.once('data', () => { say('child ' + child.pid); begin(); });
} else begin();
`;

/** Starts it and waits until every member records. It is surely ended with `t`. */
export async function startRecording(t: Ending, plan: PayloadPlan, file: string): Promise<RecordingPayload> {
  fs.writeFileSync(file, '');
  const payload = await startPayload(t, LEADER(file, plan.group));
  const childPid = plan.group ? Number((await payload.line(/^child (\d+)$/))[1]) : null;
  return {
    plan,
    pid: payload.pid,
    members: plan.group ? ['leader', 'child'] : ['leader'],
    received: () => parse(fs.readFileSync(file, 'utf8')),
    dead: untilAllDead(payload, childPid),
  };
}

async function untilAllDead({ ended }: TestPayload, childPid: number | null) {
  const childTicks = childPid === null ? null : startTicksOf(childPid);
  const { signal } = await ended;
  const atMs = Date.now();
  if (childPid !== null && childTicks === ticksOrNull(childPid)) await untilDead(childPid);
  return { by: signal, atMs };
}

function ticksOrNull(pid: number): number | null {
  try {
    return startTicksOf(pid);
  } catch {
    return null;
  }
}

function parse(text: string): readonly Received[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [member = '', signal = '', atMs] = line.split(' ');
      return { member, signal, atMs: Number(atMs) };
    });
}
