/** Not written yet. */
import type { SourceDefinition } from './source.ts';

export const opennebulaSource: SourceDefinition<never> = {
  name: 'opennebula',
  schema: { type: 'object' },
  detect: () => undefined,
  create: () => [],
};
