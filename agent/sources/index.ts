/** Every source there is, strongest rank first (SEMANTICS S2.1). To add one, see source.ts. */
import { directorySource } from './directory.ts';
import { mjfSource } from './mjf.ts';
import { selfSource } from './self.ts';
import type { SourceDefinition } from './source.ts';
import { staticSource } from './static.ts';

/** `never`: each definition takes its own table, already validated against its own schema. */
export const sourceDefinitions: readonly SourceDefinition<never>[] = [
  staticSource,
  directorySource,
  mjfSource,
  selfSource,
];
