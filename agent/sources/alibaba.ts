/** Not written yet. */
import type { SourceDefinition } from './source.ts';

export const alibabaSource: SourceDefinition<never> = {
  name: 'alibaba',
  schema: { type: 'object' },
  detect: () => undefined,
  create: () => [],
};
