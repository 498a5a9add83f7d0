/** Not written yet. */
import type { SourceDefinition } from './source.ts';

export const azureSource: SourceDefinition<never> = {
  name: 'azure',
  schema: { type: 'object' },
  detect: () => undefined,
  create: () => [],
};
