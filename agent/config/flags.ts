/** The daemon's flags as layers of the configuration: they win over files and environment. */
import { expectedText } from './expected.ts';
import { isAbsolutePath, isHttpUrl, TEXT_FORMATS } from './formats.ts';
import { LOG_LEVEL_NAMES } from './log-levels.ts';
import { type Layer, tableOf } from './merge.ts';
import { type ConfigProblem, keyText, showValue } from './problem.ts';

/** Flags as typed, by their long names in camel case; absent = not given. */
export interface ConfigFlags {
  readonly machinefeatures?: string | undefined;
  readonly jobfeatures?: string | undefined;
  readonly joboutputs?: string | undefined;
  readonly runtimeDir?: string | undefined;
  readonly stateDir?: string | undefined;
  readonly listen?: string | undefined;
  readonly logLevel?: string | undefined;
  /** `--poweroff-when-done`: `[stop] when_done = "poweroff"`. */
  readonly poweroffWhenDone?: boolean | undefined;
}

export interface FlagsRead {
  readonly layers: readonly Layer[];
  readonly problems: readonly ConfigProblem[];
  /** Sources that a flag gave a place to: asked even where `sources` is a list without them. */
  readonly namedSources: readonly string[];
}

interface Target {
  readonly flag: string;
  readonly value: string | undefined;
  readonly choices: readonly {
    readonly path: readonly string[];
    readonly test: (text: string) => boolean;
  }[];
  readonly expected: string;
}

const POWEROFF_FLAG = '--poweroff-when-done';
const POWEROFF_KEY = ['stop', 'when_done'] as const;
const PATH_OR_URL = 'an absolute path or an http(s) URL';

/** Checks and places each flag; what is wrong with one is told like any other fault of the configuration. */
export function readFlags(flags: ConfigFlags): FlagsRead {
  const layers: Layer[] = [];
  const problems: ConfigProblem[] = [];
  const namedSources: string[] = [];
  for (const { flag, value, choices, expected } of targets(flags)) {
    if (value === undefined) continue;
    const choice = choices.find(({ test }) => test(value));
    if (choice === undefined) {
      const key = keyText(choices[0]?.path ?? []);
      problems.push({ origin: flag, key, message: `expected ${expected}, got ${showValue(value)}` });
      continue;
    }
    const [table, source] = choice.path;
    if (table === 'source' && source !== undefined) namedSources.push(source);
    layers.push({ origin: flag, kind: 'flag', table: tableOf(choice.path, value), checked: true });
  }
  if (flags.poweroffWhenDone === true) {
    const table = tableOf(POWEROFF_KEY, 'poweroff');
    layers.push({ origin: POWEROFF_FLAG, kind: 'flag', table, checked: true });
  }
  return { layers, problems, namedSources: [...new Set(namedSources)] };
}

/** Which keys a flag of the daemon sets, for the manual. */
export const flagKeys = (): readonly { readonly flag: string; readonly path: readonly string[] }[] => [
  ...targets({}).flatMap(({ flag, choices }) => choices.map(({ path }) => ({ flag, path }))),
  { flag: POWEROFF_FLAG, path: POWEROFF_KEY },
];

function targets(flags: ConfigFlags): readonly Target[] {
  const features = (key: 'machinefeatures' | 'jobfeatures'): Target => ({
    flag: `--${key}`,
    value: flags[key],
    choices: [
      { path: ['source', 'directory', key], test: isAbsolutePath },
      { path: ['source', 'mjf', key], test: isHttpUrl },
    ],
    expected: PATH_OR_URL,
  });
  const plain = (
    flag: string,
    value: string | undefined,
    path: string[],
    format: keyof typeof TEXT_FORMATS,
  ): Target => ({
    flag,
    value,
    choices: [{ path, test: TEXT_FORMATS[format].test }],
    expected: TEXT_FORMATS[format].expected,
  });
  return [
    features('machinefeatures'),
    features('jobfeatures'),
    {
      flag: '--joboutputs',
      value: flags.joboutputs,
      choices: [
        { path: ['report', 'joboutputs', 'directory'], test: isAbsolutePath },
        { path: ['report', 'joboutputs', 'url'], test: isHttpUrl },
      ],
      expected: PATH_OR_URL,
    },
    plain('--runtime-dir', flags.runtimeDir, ['runtime_dir'], 'absolute-path'),
    plain('--state-dir', flags.stateDir, ['state_dir'], 'absolute-path'),
    plain('--listen', flags.listen, ['listen'], 'listen'),
    {
      flag: '--log-level',
      value: flags.logLevel,
      choices: [{ path: ['log', 'level'], test: (text) => LOG_LEVEL_NAMES.some((name) => name === text) }],
      expected: expectedText({ enum: LOG_LEVEL_NAMES }),
    },
  ];
}
