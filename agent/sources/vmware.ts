/** Not written yet. */
import type { SourceDefinition } from './source.ts';

export const vmwareSource: SourceDefinition<never> = {
  name: 'vmware',
  schema: { type: 'object' },
  detect: () => undefined,
  create: () => [],
};
