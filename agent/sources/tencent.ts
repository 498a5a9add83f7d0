/** Not written yet. */
import type { SourceDefinition } from './source.ts';

export const tencentSource: SourceDefinition<never> = {
  name: 'tencent',
  schema: { type: 'object' },
  detect: () => undefined,
  create: () => [],
};
