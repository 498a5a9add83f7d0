/** Surroundings of a source in a test: nothing is there but what the test says. */
import pino from 'pino';
import { NO_FACTS } from '../../agent/sources/facts.ts';
import type { SourceEnvironment } from '../../agent/sources/source.ts';

export function sourceEnvironment(given: Partial<SourceEnvironment> = {}): SourceEnvironment {
  return {
    root: '/nonexistent',
    runtimeDir: '/nonexistent/run',
    env: {},
    log: pino({ level: 'silent' }),
    firstBootMs: 0,
    facts: NO_FACTS,
    pointers: {},
    self: { command: process.execPath, args: [] },
    ...given,
  };
}
