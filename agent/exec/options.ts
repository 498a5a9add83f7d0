/** The options of `exec` as values; what is wrong is told as a `UsageError`. */
import { constants } from 'node:os';
import { UsageError } from '../commands/command.ts';
import { parseFinalWord } from '../commands/final-word.ts';
import { durationMs } from '../duration.ts';
import type { EscalationStep } from '../lifetime/types.ts';
import type { Codes } from './outcome.ts';

/** A process has eight bits for it. */
const MAX_EXIT_CODE = 255;

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

/**
 * `--code EXIT=NNN[:TEXT]`, e.g. `3=300:No more work`, `signal=600`; with a blank as in the configuration too. Of two for the
 * same exit the later one counts.
 */
export function parseCodes(texts: readonly string[]): Codes {
  return Object.fromEntries(
    texts.map((text) => {
      const [, exit = '', code = '', line = ''] = /^([^=]*)=([^: ]*)(?:[: ](.*))?$/s.exec(text) ?? [];
      const isExit = /^(?:0|[1-9]\d{0,2})$/.test(exit) && Number(exit) <= MAX_EXIT_CODE;
      if (!isExit && exit !== 'signal' && exit !== 'other')
        throw new UsageError(
          `--code takes EXIT=NNN[:TEXT] where EXIT is 0 to 255, signal or other, for example "3=300:No more work", got "${text}"`,
        );
      return [exit, parseFinalWord(`--code ${exit}`, code, line)] as const;
    }),
  );
}

export function parseDuration(option: string, text: string): number {
  try {
    return durationMs(text);
  } catch (error) {
    throw new UsageError(`${option}: ${(error as Error).message}`);
  }
}
