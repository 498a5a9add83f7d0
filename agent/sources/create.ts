/** From the configuration to the sources that it asks for. */
import type { Config } from '../config/types.ts';
import { sourceDefinitions } from './index.ts';
import type { Source, SourceEnvironment } from './source.ts';

/** `sources = "auto"`: every definition decides whether its channel is there; a list: those alone. */
export function createSources(
  config: Pick<Config, 'sources' | 'source'>,
  environment: SourceEnvironment,
): readonly Source[] {
  const wanted = config.sources;
  return sourceDefinitions
    .filter((definition) => wanted === 'auto' || wanted.includes(definition.name))
    .flatMap((definition) => {
      // Validated against this very definition's schema (config.ts); an absent table is an empty one.
      const table = (config.source[definition.name] ?? {}) as never;
      return definition.create(table, environment);
    });
}
