/** Not written yet. */
import type { SourceDefinition } from './source.ts';

export const qemuSource: SourceDefinition<never> = {
  name: 'qemu',
  schema: { type: 'object' },
  detect: () => undefined,
  create: () => [],
};
