/** Not written yet. */
import type { SourceDefinition } from './source.ts';

export const scheduleSource: SourceDefinition<never> = {
  name: 'schedule',
  schema: { type: 'object' },
  detect: () => undefined,
  create: () => [],
};
