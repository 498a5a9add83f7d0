/** What a hook finds in its environment: this table and nothing of the agent's own (issue 4, point 7). */
import type { HookRun, Instant, Snapshot } from '../lifetime/types.ts';

export interface HookContext {
  readonly run: HookRun;
  readonly snapshot: Pick<Snapshot, 'phase' | 'deadlineMs' | 'localDeadlineMs' | 'reason'>;
  readonly now: Instant;
  readonly runtimeDir: string;
  /** The agent's language setting. */
  readonly lang: string | undefined;
}

interface HookVariable {
  readonly name: string;
  /** For the documents. */
  readonly meaning: string;
  /** null: it is not set. */
  of(context: HookContext): string | null;
  /** What a value must be, where a program takes it for more than text. */
  readonly form?: RegExp;
}

/** Nobody reads a longer one in a log; far below what execve(2) takes. */
const MAX_VALUE = 1_024;
const DEFAULT_LANG = 'C.UTF-8';
/** No slash: a path here would have the C library load a file. */
const LANGUAGE = /^[A-Za-z0-9_.@-]{1,64}$/;

const seconds = (ms: number | null | undefined): string | null =>
  ms === null || ms === undefined ? null : String(Math.floor(ms / 1000));
/** Of a step: its payload's, which may be earlier than the machine's. On this machine's clock. */
const localDeadlineMs = ({ run, snapshot }: HookContext): number | null =>
  run.event === 'step' ? run.byMs : snapshot.localDeadlineMs;

/** In the order of the documents. PATH, HOME, USER and LOGNAME come from the account that the hook runs as. */
export const HOOK_VARIABLES: readonly HookVariable[] = [
  {
    name: 'MJF_EVENT',
    meaning: 'notice, draining, stopping, stopped, cancelled or can_terminate; step for a step of a payload',
    of: ({ run }) => run.event,
  },
  {
    name: 'MJF_PHASE',
    meaning: 'phase of the machine when the event came: running, draining, stopping or stopped',
    of: ({ snapshot }) => snapshot.phase,
  },
  {
    name: 'MJF_DEADLINE',
    meaning: 'UNIX seconds by which all must have ended, of a step: its payload; not set when none is known',
    of: (context) => seconds(context.run.event === 'step' ? context.run.byMs : context.snapshot.deadlineMs),
  },
  {
    name: 'MJF_REMAINING_SECS',
    meaning:
      'seconds from the start of this program to that deadline, 0 when it has passed; not set when none is known',
    of(context) {
      const deadlineMs = localDeadlineMs(context);
      return deadlineMs === null ? null : seconds(Math.max(0, deadlineMs - context.now.wall));
    },
  },
  {
    name: 'MJF_REASON',
    meaning: 'why the machine stops, in words of the host; not for decisions. Not set when it does not stop',
    of: ({ snapshot }) => snapshot.reason,
  },
  { name: 'MJF_NOTICE_ID', meaning: 'notice: its id', of: ({ run }) => run.notice?.id ?? null },
  {
    name: 'MJF_NOTICE_KIND',
    meaning: 'notice: its kind, such as terminate',
    of: ({ run }) => run.notice?.kind ?? null,
  },
  {
    name: 'MJF_NOTICE_DEADLINE',
    meaning: 'notice: its own time in UNIX seconds; not set when it has none',
    of: ({ run }) => seconds(run.notice?.deadlineMs),
  },
  {
    name: 'MJF_CAN_TERMINATE',
    meaning: 'can_terminate: 1 when the machine can be terminated from now on without losing work, 0 when not any more',
    of: ({ run }) => (run.canTerminate === undefined ? null : run.canTerminate ? '1' : '0'),
  },
  { name: 'MJF_PAYLOAD_ID', meaning: 'step: id of the payload', of: ({ run }) => run.payload?.id ?? null },
  { name: 'MJF_PAYLOAD_NAME', meaning: 'step: its name', of: ({ run }) => run.payload?.name ?? null },
  {
    name: 'MJF_PAYLOAD_PID',
    meaning: 'step: its leading process; not set for units and control groups',
    of: ({ run }) => (typeof run.payload?.pid === 'number' ? String(run.payload.pid) : null),
  },
  {
    name: 'MJF_PAYLOAD_UID',
    meaning: 'step: number of the user it belongs to',
    of: ({ run }) => (run.payload === undefined ? null : String(run.payload.uid)),
  },
  {
    name: 'MJF_REPEATED',
    meaning: '1 when the agent was restarted and does not know whether this program ran before, else 0',
    of: ({ run }) => (run.repeated ? '1' : '0'),
  },
  { name: 'MJF_HOOK_RUN', meaning: 'id of this run, the same when it is repeated', of: ({ run }) => run.id },
  {
    name: 'MACHINEFEATURES',
    meaning: 'directory of the machine features as the agent publishes them',
    of: ({ runtimeDir }) => `${runtimeDir}/machinefeatures`,
  },
  {
    name: 'JOBFEATURES',
    meaning: 'directory of the job features as the agent publishes them',
    of: ({ runtimeDir }) => `${runtimeDir}/jobfeatures`,
  },
  {
    name: 'LANG',
    meaning: 'as the agent has it, else C.UTF-8',
    of: ({ lang }) => (lang !== undefined && LANGUAGE.test(lang) ? lang : DEFAULT_LANG),
    form: LANGUAGE,
  },
];

/** Values are one line of bounded length: much of them are words of a host. */
export function hookEnvironment(context: HookContext): Readonly<Record<string, string>> {
  const env: Record<string, string> = {};
  for (const { name, of } of HOOK_VARIABLES) {
    const value = of(context);
    if (value !== null) env[name] = oneLine(value);
  }
  return env;
}

function oneLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are exactly what is looked for
  return text.slice(0, MAX_VALUE).replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, ' ');
}
