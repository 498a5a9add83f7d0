/** Not written yet. */
import type { SourceDefinition } from './source.ts';

export const openstackSource: SourceDefinition<never> = {
  name: 'openstack',
  schema: { type: 'object' },
  detect: () => undefined,
  create: () => [],
};
