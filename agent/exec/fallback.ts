/** The host's channels, read by `exec` itself while there is no daemon that does (SEMANTICS S3.8). */
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import { type Config, policyOf } from '../config.ts';
import { initialState } from '../lifetime/state.ts';
import { step } from '../lifetime/step.ts';
import type { Observation, SourceInfo } from '../lifetime/types.ts';
import { selfCommand } from '../self.ts';
import { createSources } from '../sources/create.ts';
import { type Driver, startDriver } from '../sources/driver.ts';
import { readMachineFacts } from '../sources/facts.ts';
import type { Places } from './environment.ts';

/** What the machine is says nothing of how long it lives; `exec` needs only the channels that do. */
const NOT_NEEDED: ReadonlySet<string> = new Set(['self']);
/** Nowhere: what a dead daemon left published is the last truth there is, and so a channel for `exec`. */
const NO_OUTPUT_OF_OURS = '/dev/null/mjf-agent';

/** How long the start of a payload waits for the host's word, where no daemon knows it. */
const FIRST_ANSWERS_MS = 1_000;

export interface OwnSources {
  start(): void;
  /** Starts, and waits until each was read, for a bounded time. */
  firstAnswers(): Promise<unknown>;
  /** Whether, by these first observations, the machine's deadline has passed. */
  overdue(observations: readonly Observation[]): boolean;
  stop(): void;
  infos(): readonly SourceInfo[];
  pollAll(): Promise<unknown>;
}

export function ownSources(options: {
  readonly config: Config;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Where the payload is told to look: `exec` looks there too, be it what a dead daemon left published. */
  readonly places: Places;
  readonly log: Logger;
  readonly clock: Clock;
  emit(observation: Observation): void;
}): OwnSources {
  const { config, env, log, clock, emit } = options;
  const drivers: Driver[] = [];
  const infos = (): readonly SourceInfo[] => drivers.map((driver) => driver.info());
  const pollAll = (): Promise<unknown> => Promise.all(drivers.map((driver) => driver.pollNow(true)));

  function start(): void {
    if (drivers.length > 0) return;
    const bootMs = clock.now().wall - clock.bootMs();
    const environment = {
      root: '/',
      runtimeDir: NO_OUTPUT_OF_OURS,
      env,
      log,
      firstBootMs: bootMs,
      facts: readMachineFacts('/'),
      pointers: {},
      self: selfCommand(),
    };
    for (const source of createSources(withPlaces(config, options.places), environment)) {
      if (!NOT_NEEDED.has(source.name)) drivers.push(startDriver(source, { emit, log, clock, count: () => {} }));
    }
  }

  return {
    start,
    async firstAnswers() {
      start();
      await Promise.race([pollAll(), new Promise((resolve) => setTimeout(resolve, FIRST_ANSWERS_MS))]);
    },
    overdue(observations) {
      const now = clock.now();
      const bootMs = now.wall - clock.bootMs();
      const inputs = observations.map((observation) => ({ type: 'observation' as const, observation }));
      const configure = { type: 'configure' as const, policy: policyOf(config), sources: infos() };
      return step(initialState(bootMs, bootMs), { type: 'together', inputs: [configure, ...inputs] }, now).snapshot
        .overdue;
    },
    stop() {
      for (const driver of drivers.splice(0)) driver.stop();
    },
    infos,
    pollAll,
  };
}

/** Directories go to the one source, URLs to the other; what is configured already stays. */
function withPlaces(config: Config, places: Places): Config {
  const found = Object.entries(places).filter(([key, value]) => key !== 'joboutputs' && value !== undefined);
  const isUrl = ([, value]: [string, string | undefined]): boolean => /^https?:/.test(value ?? '');
  const table = (name: string, entries: readonly [string, string | undefined][]) => ({
    ...Object.fromEntries(entries),
    ...(config.source[name] as object | undefined),
  });
  const directory = table(
    'directory',
    found.filter((each) => !isUrl(each)),
  );
  const mjf = table('mjf', found.filter(isUrl));
  return { ...config, source: { ...config.source, directory, mjf } };
}
