/** `[[payload]]` and steps as written → as the program uses them. */
import { durationMs } from '../duration.ts';
import type { EscalationStep } from '../lifetime/types.ts';
import { baseSchema, type RawConfig } from './schema.ts';
import type { ConfiguredPayload } from './types.ts';

export type RawPayload = NonNullable<RawConfig['payload']>[number];
export type RawStep = NonNullable<RawPayload['steps']>[number];

const defaults = baseSchema.properties.payload.items.properties;

/** Presumes a valid shape; null where the regular expression is none. */
export function toPayload(raw: RawPayload): ConfiguredPayload | null {
  const find = findOf(raw);
  if (find === null) return null;
  return {
    name: raw.name,
    find,
    group: raw.group ?? defaults.group.default,
    graceMs: raw.grace === undefined ? null : durationMs(raw.grace),
    steps: raw.steps?.map(toStep) ?? null,
    restartOnCancel: raw.restart_on_cancel ?? defaults.restart_on_cancel.default,
  };
}

/** A hook has its name in place of the signal's (lifetime/types.ts, `hookOf`). */
export function toStep(raw: RawStep): EscalationStep {
  const at = raw.at === 'grace' ? 'grace' : durationMs(raw.at);
  const signal = raw.hook === undefined ? (raw.signal ?? '') : `hook:${raw.hook}`;
  return { at, signal, ...(raw.to === undefined ? {} : { to: raw.to }) };
}

/**
 * As the finder tries it: by whole characters, so that `.` is one. A sentence instead where it is no regular expression.
 */
export function compileCommand(source: string): RegExp | string {
  try {
    return new RegExp(source, 'u');
  } catch (error) {
    // V8's sentence repeats the expression, which the message shows anyhow.
    const reason = error instanceof Error ? error.message.replace(/^Invalid regular expression: .*: /s, '') : '';
    return reason === '' ? 'it is not valid' : reason.charAt(0).toLowerCase() + reason.slice(1);
  }
}

function findOf(raw: RawPayload): ConfiguredPayload['find'] | null {
  if (raw.unit !== undefined) return { by: 'unit', unit: raw.unit };
  if (raw.cgroup !== undefined) return { by: 'cgroup', path: raw.cgroup };
  if (raw.pidfile !== undefined) return { by: 'pidfile', file: raw.pidfile, user: String(raw.user ?? '') };
  if (raw.match === undefined) return null;
  const command = compileCommand(raw.match.command);
  return typeof command === 'string' ? null : { by: 'match', user: String(raw.match.user), command };
}
