/** The options of `exec` as values; what is wrong is told as a `UsageError`. */
import { constants } from 'node:os';
import { UsageError } from '../commands/command.ts';
import { durationMs } from '../duration.ts';
import type { EscalationStep } from '../lifetime/types.ts';

/** `--step AT:SIGNAL[:TO]`, e.g. `grace:SIGTERM`, `10m:SIGUSR1:leader`, `5s:SIGKILL:all`. */
export function parseStep(text: string): EscalationStep {
  const [at = '', signal = '', to, ...more] = text.split(':');
  const name = signal.startsWith('SIG') ? signal : `SIG${signal}`;
  if (!(name in constants.signals) || more.length > 0) throw wrongStep(text);
  if (to !== undefined && to !== 'leader' && to !== 'group' && to !== 'all') throw wrongStep(text);
  return { at: at === 'grace' ? 'grace' : parseDuration('--step', at), signal: name, ...(to !== undefined && { to }) };
}

const wrongStep = (text: string): UsageError =>
  new UsageError(
    `--step takes AT:SIGNAL[:leader|group|all], for example grace:SIGTERM or 5s:SIGKILL:all, got "${text}"`,
  );

export function parseDuration(option: string, text: string): number {
  try {
    return durationMs(text);
  } catch (error) {
    throw new UsageError(`${option}: ${(error as Error).message}`);
  }
}
