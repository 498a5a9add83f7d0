/** From the configuration and what the machine says of itself to the sources that there are. */
import type { Config } from '../config/types.ts';
import { sourceDefinitions } from './index.ts';
import type { Source, SourceDefinition, SourceEnvironment } from './source.ts';

/** Whether a definition is used, and what speaks for it. */
export interface Choice {
  readonly definition: SourceDefinition<never>;
  readonly used: boolean;
  /** `configured`, `detected`, `known from before`, `always`; or why not: `not detected`, `turned off`, `not listed`. */
  readonly why: string;
  /** The sign by which it was detected, used or not. */
  readonly sign: string | undefined;
}

/**
 * `sources = "auto"`: what is detected, unless the source's own table says otherwise (`enabled`, or a key that names the
 * channel); definitions without detection decide by themselves. A list: those alone. `known`: found before on this machine.
 */
export function chooseSources(
  config: Pick<Config, 'sources' | 'source'>,
  environment: Pick<SourceEnvironment, 'facts'>,
  known: ReadonlySet<string> = new Set(),
): readonly Choice[] {
  return sourceDefinitions.map((definition) => {
    const sign = definition.detect?.(environment.facts);
    const table = (config.source[definition.name] ?? {}) as Readonly<Record<string, unknown>>;
    const choice = (used: boolean, why: string): Choice => ({ definition, used, why, sign });
    if (table['enabled'] === false) return choice(false, 'turned off');
    if (config.sources !== 'auto')
      return config.sources.includes(definition.name) ? choice(true, 'configured') : choice(false, 'not listed');
    if (definition.detect === undefined) return choice(true, 'always');
    const named = table['enabled'] === true || definition.explicitKeys?.some((key) => table[key] !== undefined);
    if (named) return choice(true, 'configured');
    if (sign !== undefined) return choice(true, 'detected');
    return known.has(definition.name) ? choice(true, 'known from before') : choice(false, 'not detected');
  });
}

/** The sources of all definitions that are used, or of those among them that `only` names. */
export function createSources(
  config: Pick<Config, 'sources' | 'source'>,
  environment: SourceEnvironment,
  {
    known,
    only = () => true,
  }: { readonly known?: ReadonlySet<string>; readonly only?: (definition: SourceDefinition<never>) => boolean } = {},
): readonly Source[] {
  return chooseSources(config, environment, known)
    .filter(({ used, definition }) => used && only(definition))
    .flatMap(({ definition }) => createOf(definition, config, environment));
}

export function createOf(
  definition: SourceDefinition<never>,
  config: Pick<Config, 'source'>,
  environment: SourceEnvironment,
): readonly Source[] {
  // Validated against this very definition's schema (config.ts); an absent table is an empty one.
  const table = (config.source[definition.name] ?? {}) as never;
  return definition.create(table, environment);
}
