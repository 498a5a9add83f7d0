/** The host's channels, read by `exec` itself while there is no daemon that does (SEMANTICS S3.8). */
import type { Logger } from 'pino';
import { openChannels } from '../channels.ts';
import type { Clock } from '../clock.ts';
import { type Config, policyOf } from '../config.ts';
import { initialState } from '../lifetime/state.ts';
import { step } from '../lifetime/step.ts';
import type { Observation, Pointers, SourceInfo } from '../lifetime/types.ts';
import { sharedMountPoints } from '../mount-points.ts';
import { followable } from '../pointer-rules.ts';
import { selfCommand } from '../self.ts';
import type { Places } from './environment.ts';

/**
 * What the machine is says nothing of how long it lives; `exec` needs only the channels that do. And who holds no lock of
 * logind's gets no time from it.
 */
const NOT_NEEDED: ReadonlySet<string> = new Set(['self', 'logind']);
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
  /** There are other sources now: a platform's metadata has said where the features are. */
  onSources(): void;
}): OwnSources {
  const { config, env, log, clock, emit } = options;
  let started = false;
  let pointers: Pointers = {};
  const channels = openChannels({
    root: '/',
    env,
    log,
    clock,
    runtimeDir: NO_OUTPUT_OF_OURS,
    firstBootMs: clock.now().wall - clock.bootMs(),
    self: selfCommand(),
    ownAddresses: [],
    pointers: {},
    without: NOT_NEEDED,
    count: () => {},
    emit(observation) {
      emit(observation);
      const told = learn(observation);
      if (!started || told === undefined) return;
      channels.follow(told);
      options.onSources();
    },
    onSources: () => options.onSources(),
  });

  /** The places that may be followed, where this observation names another one than was known: the first word counts. */
  function learn(observation: Observation): Pointers | undefined {
    const answer =
      observation.outcome === 'answer'
        ? observation.answer
        : observation.outcome === 'failed'
          ? observation.partial
          : undefined;
    const before = pointers;
    pointers = { ...answer?.pointers, ...before };
    if (Object.keys(pointers).length === Object.keys(before).length) return undefined;
    return followable(pointers, { isOwn: () => false, mounts: sharedMountPoints('/') }).allowed;
  }
  const infos = (): readonly SourceInfo[] => (started ? channels.infos() : []);
  const pollAll = (): Promise<unknown> => channels.pollAll();

  function start(): void {
    if (started) return;
    started = true;
    channels.start(withPlaces(config, options.places));
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
      started = false;
      channels.stop();
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
