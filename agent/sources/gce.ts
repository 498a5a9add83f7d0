/** Not written yet. */
import type { SourceDefinition } from './source.ts';

export const gceSource: SourceDefinition<never> = {
  name: 'gce',
  schema: { type: 'object' },
  detect: () => undefined,
  create: () => [],
};
