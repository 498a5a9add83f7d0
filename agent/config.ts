/**
 * The configuration: files, environment and flags → one typed, validated `Config` (DESIGN.md, "Configuration").
 * Later wins: `config.toml`, `conf.d/*.toml` in the order of their names, `MJF_AGENT_*`, flags. Tables merge deeply, lists
 * replace each other, except that `[[payload]]`, `[[webhook]]` and `[[source.schedule]]` of several files add up.
 *
 * No file at all is a good configuration, and then neither smol-toml nor Ajv is loaded: the agent must publish early.
 */
import { readEnvironment } from './config/environment.ts';
import { readConfigFiles } from './config/files.ts';
import { type ConfigFlags, readFlags } from './config/flags.ts';
import { mergeLayers } from './config/merge.ts';
import type { ConfigProblem } from './config/problem.ts';
import { checkRules } from './config/rules.ts';
import { composeSchema, type RawConfig, type SchemaNode } from './config/schema.ts';
import { toConfig } from './config/typed.ts';
import type { Config } from './config/types.ts';
import { validateShape } from './config/validate.ts';
import type { Policy } from './lifetime/types.ts';
import { sourceDefinitions } from './sources/index.ts';

export type { ConfigFlags } from './config/flags.ts';
export type { ListenAddress } from './config/listen.ts';
export { type ConfigProblem, describeProblem } from './config/problem.ts';
export type { Config, JobOutputsConfig } from './config/types.ts';

export const DEFAULT_ETC_DIR = '/etc/mjf-agent';

export interface LoadOptions {
  /** Read exactly this file (it must exist) in place of those in `etcDir`. */
  readonly file?: string;
  readonly etcDir?: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly flags: ConfigFlags;
}

export type LoadResult =
  | {
      readonly ok: true;
      readonly config: Config;
      /** What was read, in order. */
      readonly files: readonly string[];
      /** Sentences for the log, with origin and key. */
      readonly warnings: readonly string[];
    }
  /** Everything that is wrong, at once; `describeProblem` makes a line of each. */
  | { readonly ok: false; readonly problems: readonly ConfigProblem[] };

/** Reads, merges and checks everything. Does not throw for anything that a person wrote. */
export async function loadConfig(options: LoadOptions): Promise<LoadResult> {
  const schema = configSchema();
  const knownSources = sourceDefinitions.map(({ name }) => name);
  const named = options.file === undefined ? {} : { file: options.file };
  const read = await readConfigFiles({ ...named, etcDir: options.etcDir ?? DEFAULT_ETC_DIR });
  const environment = await readEnvironment(options.env, schema);
  const flags = readFlags(options.flags);

  const layers = [...read.layers, ...environment.layers, ...flags.layers];
  const merged = mergeLayers(layers);
  const problems = [...read.problems, ...environment.problems, ...flags.problems];
  if (layers.some(({ checked }) => !checked)) problems.push(...(await validateShape(merged, schema)));
  if (problems.length > 0) return { ok: false, problems };

  // The one place where the schema's word is taken for the type: every layer has been validated against it.
  const raw = merged.table as RawConfig;
  const config = withNamedSources(toConfig(raw, knownSources), flags.namedSources);
  const findings = await checkRules(raw, config, merged, knownSources);
  if (findings.problems.length > 0) return { ok: false, problems: findings.problems };
  return { ok: true, config, files: read.files, warnings: [...environment.warnings, ...findings.warnings] };
}

/** JSON Schema of the whole configuration, sources included. */
export function configSchema(): SchemaNode {
  return composeSchema(sourceDefinitions);
}

/** What the heart must know of the configuration. */
export function policyOf(config: Config): Policy {
  return {
    drainMs: config.stop.drainMs,
    graceMs: config.stop.graceMs,
    steps: config.stop.steps,
    kindOverrides: config.notice,
    shutdownKeys: config.publish.shutdownKeys,
    whenDone: config.stop.whenDone,
    idleMs: config.stop.idleMs,
    atDeadline: config.stop.atDeadline,
  };
}

/** Who names a place on the command line wants it asked, whatever list stands in a file. */
function withNamedSources(config: Config, named: readonly string[]): Config {
  if (config.sources === 'auto' || named.length === 0) return config;
  return { ...config, sources: [...new Set([...config.sources, ...named])] };
}
