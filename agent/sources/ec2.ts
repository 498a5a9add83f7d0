/** Not written yet. */
import type { SourceDefinition } from './source.ts';

export const ec2Source: SourceDefinition<never> = {
  name: 'ec2',
  schema: { type: 'object' },
  detect: () => undefined,
  create: () => [],
};
