/** Not written yet. */
import type { SourceDefinition } from './source.ts';

export const logindSource: SourceDefinition<never> = {
  name: 'logind',
  schema: { type: 'object' },
  detect: () => undefined,
  create: () => [],
};
