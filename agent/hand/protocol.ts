/**
 * What goes over the hand's socket. The client writes one JSON line; the hand answers with lines until the one that holds the
 * result, and ends the connection. A client that goes away ends nothing: the hook runs on (SYSTEMS.md, "KillMode"). One that
 * wants its hook ended writes the line `{"abort":true}`.
 */
import { HOOK_VARIABLES } from '../payloads/hook-environment.ts';
import type { HandResult, HookOutcome, HookProgram } from './hand.ts';
import { LINE_LIMITS } from './lines.ts';

/** The Snapshot is by far the largest part: some hundred features and notices are below 100 KB. */
export const MAX_REQUEST_BYTES = 1024 * 1024;
/** One answer line: an output line at six bytes each in JSON's worst case, or a result. */
export const MAX_ANSWER_BYTES = 6 * LINE_LIMITS.bytes + 64 * 1024;
/** As systemctl gets them; a slice has no more that are worth an own stop. */
export const MAX_UNITS = 256;

export type HandRequest =
  | {
      readonly verb: 'hook';
      readonly directory: string;
      readonly file: string;
      readonly env: Readonly<Record<string, string>>;
      readonly stdin: string;
      readonly timeoutMs: number;
    }
  | { readonly verb: 'units'; readonly action: 'stop' | 'start'; readonly units: readonly string[] }
  | { readonly verb: 'power_off' };

export type HandAnswer =
  | { readonly started: HookProgram }
  | { readonly stream: 'stdout' | 'stderr'; readonly line: string }
  | { readonly outcome: HookOutcome }
  | { readonly result: HandResult };

export const ABORT_LINE = '{"abort":true}\n';

/** A systemd unit by its full name; also keeps options and paths out of a command line. */
export const UNIT_NAME =
  /^[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]{0,254}\.(service|scope|slice|socket|target|mount|path|timer|swap)$/;

/**
 * Of the environment, exactly what tells a hook what has happened and where to read on, each with what it must look like.
 * Never what changes how programs run: PATH, LD_PRELOAD, nor settings of this very program (MJF_AGENT_*).
 */
const VARIABLES: ReadonlyMap<string, RegExp> = new Map([
  ...HOOK_VARIABLES.map(({ name, form }) => [name, form ?? /^/] as const),
  ['JOBOUTPUTS', /^/] as const,
]);
const MAX_VALUE = 4_096;

/** The request in a line, or a sentence on what is wrong with it. */
export function parseRequest(line: string): HandRequest | string {
  const value = parseObject(line);
  if (value === null) return 'the request is no JSON object';
  const { verb } = value;
  if (verb === 'power_off') return { verb };
  if (verb === 'units') {
    const { action, units } = value;
    if (action !== 'stop' && action !== 'start') return 'units are stopped or started';
    if (!Array.isArray(units) || units.length === 0 || units.length > MAX_UNITS) return `1 to ${MAX_UNITS} units`;
    const names = units.filter((unit): unit is string => typeof unit === 'string' && UNIT_NAME.test(unit));
    return names.length === units.length ? { verb, action, units: names } : 'not the full name of a unit';
  }
  if (verb !== 'hook') return 'there is no such verb';
  const { directory, file, env, stdin, timeoutMs } = value;
  if (typeof directory !== 'string' || typeof file !== 'string' || typeof stdin !== 'string')
    return 'a hook lacks a part';
  if (typeof timeoutMs !== 'number' || !Number.isFinite(timeoutMs) || timeoutMs <= 0)
    return 'a hook has a time above 0';
  const variables = variablesOf(env);
  return variables === null
    ? 'an environment that is not for hooks'
    : { verb, directory, file, env: variables, stdin, timeoutMs };
}

/** An answer, or null for what makes no sense. The hand is root's, but a bug must not end the agent. */
export function parseAnswer(line: string): HandAnswer | null {
  const value = parseObject(line);
  if (value === null) return null;
  const { started, stream, line: text, outcome, result } = value;
  if (isObject(started)) {
    const { pid, startTicks } = started;
    // Its pipes are the hand's to empty.
    return typeof pid === 'number' && typeof startTicks === 'number'
      ? { started: { pid, startTicks, pipes: [] } }
      : null;
  }
  if ((stream === 'stdout' || stream === 'stderr') && typeof text === 'string') return { stream, line: text };
  if (isObject(outcome)) return toOutcome(outcome);
  if (!isObject(result)) return null;
  if (result['ok'] === true) return { result: { ok: true, output: String(result['output'] ?? '') } };
  return { result: { ok: false, code: String(result['code']), detail: String(result['detail']) } };
}

function toOutcome(value: Readonly<Record<string, unknown>>): HandAnswer | null {
  const ms = typeof value['ms'] === 'number' ? value['ms'] : 0;
  const { is, code, signal } = value;
  if (is === 'timeout') return { outcome: { is, ms } };
  if (is === 'not_run') return { outcome: { is, code: String(code), detail: String(value['detail']) } };
  if (is !== 'ended') return null;
  return {
    outcome: {
      is,
      code: typeof code === 'number' ? code : null,
      signal: typeof signal === 'string' ? signal : null,
      ms,
    },
  };
}

function variablesOf(env: unknown): Readonly<Record<string, string>> | null {
  if (!isObject(env)) return null;
  const variables: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (typeof value !== 'string' || value.length > MAX_VALUE || value.includes('\0')) return null;
    if (VARIABLES.get(name)?.test(value) !== true) return null;
    variables[name] = value;
  }
  return variables;
}

function parseObject(line: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(line);
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
