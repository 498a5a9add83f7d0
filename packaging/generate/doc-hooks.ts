/** The environment of hooks for hooks.md: names and meanings from the program's table, examples from what it really sets. */
import type { HookRun } from '../../agent/lifetime/types.ts';
import { HOOK_VARIABLES, type HookContext, hookEnvironment } from '../../agent/payloads/hook-environment.ts';
import { markdownTable } from './blocks.ts';

const TYPES: Readonly<Record<string, string>> = {
  MJF_EVENT: 'word',
  MJF_PHASE: 'word',
  MJF_DEADLINE: 'UNIX seconds',
  MJF_REMAINING_SECS: 'seconds',
  MJF_REASON: 'one line of text',
  MJF_NOTICE_ID: 'word',
  MJF_NOTICE_KIND: 'word',
  MJF_NOTICE_DEADLINE: 'UNIX seconds',
  MJF_CAN_TERMINATE: '0 or 1',
  MJF_PAYLOAD_ID: 'word',
  MJF_PAYLOAD_NAME: 'one line of text',
  MJF_PAYLOAD_PID: 'number',
  MJF_PAYLOAD_UID: 'number',
  MJF_REPEATED: '0 or 1',
  MJF_HOOK_RUN: 'word',
  MACHINEFEATURES: 'path',
  JOBFEATURES: 'path',
  LANG: 'locale',
};

const DEADLINE_MS = 1_766_440_000_000;
const NOW_MS = DEADLINE_MS - 118_000;
const COMMON = { byMs: DEADLINE_MS, repeated: false } as const;
/** One of each kind, so that every variable is set in one of them. */
const RUNS: readonly HookRun[] = [
  {
    ...COMMON,
    id: '2-notice',
    event: 'notice',
    notice: { id: 'ec2/spot', kind: 'terminate', deadlineMs: DEADLINE_MS },
  },
  { ...COMMON, id: '5-can_terminate', event: 'can_terminate', canTerminate: true },
  {
    ...COMMON,
    id: 'p-7f3a/1/0',
    event: 'step',
    payload: { id: 'p-7f3a', name: 'worker', uid: 1001, pid: 4711 },
    file: 'save-checkpoint',
  },
];

/** What a hook of each kind finds. */
export const sampleEnvironments = (): readonly Readonly<Record<string, string>>[] =>
  RUNS.map(
    (run): HookContext => ({
      run,
      snapshot: {
        phase: 'draining',
        deadlineMs: DEADLINE_MS,
        localDeadlineMs: DEADLINE_MS,
        reason: 'ec2: spot terminate',
      },
      now: { wall: NOW_MS, mono: 0 },
      runtimeDir: '/run/mjf-agent',
      lang: undefined,
    }),
  ).map(hookEnvironment);

/** Throws for a variable of which nobody has written down what it holds. */
export function hookVariables(): string {
  const samples = sampleEnvironments();
  return markdownTable(
    ['variable', 'holds', 'for example', 'meaning'],
    HOOK_VARIABLES.map(({ name, meaning }) => {
      const [type, example] = [TYPES[name], samples.map((env) => env[name]).find((value) => value !== undefined)];
      if (type === undefined || example === undefined) throw new Error(`doc-hooks.ts does not know ${name}`);
      return [`\`${name}\``, type, `\`${example}\``, meaning];
    }),
  );
}
