/**
 * All channels of the host as they are driven now: which sources there are by the configuration, the machine's own signs and
 * what a platform's metadata points to, each with its driver.
 */
import type { Logger } from 'pino';
import { type SpeakBack, speakBack } from './channels-back.ts';
import type { Clock } from './clock.ts';
import type { Config } from './config/types.ts';
import type { Observation, Pointers, SourceInfo } from './lifetime/types.ts';
import { type OwnAddress, withoutOwnEndpoints } from './own-endpoint.ts';
import type { LiveSource } from './ports.ts';
import { chooseSources, createSources } from './sources/create.ts';
import { type Driver, startDriver } from './sources/driver.ts';
import { readMachineFacts } from './sources/facts.ts';
import type { SourceDefinition } from './sources/source.ts';
import { startTimer, type Timer } from './sources/timer.ts';

/** udev and cloud-init may be later than the agent: their signs are looked for this often … */
const LOOK_AGAIN_MS = 2_000;
/** … for as long as a slow boot may take. */
const LOOK_FOR_MS = 300_000;

export interface Channels {
  /** Makes every source anew from this configuration. */
  start(config: Config): readonly SourceInfo[];
  /** Makes those anew whose place the metadata may name (mjf.md, "Locations"); all others go on. */
  follow(pointers: Pointers): readonly SourceInfo[];
  /** Fulfilled when each was read afresh, well or not, or its bound is over. */
  pollAll(): Promise<unknown>;
  pollSoon(source: string, inMs: number): void;
  live(): readonly LiveSource[];
  infos(): readonly SourceInfo[];
  /** Names of those that have not said anything yet. */
  silent(): readonly string[];
  /** Fulfilled when none is silent any more. */
  answered: Promise<void>;
  /** To the host, over the source of a name that is driven now; `no_channel` where there is none or it has no such way. */
  readonly back: SpeakBack;
  stop(): void;
}

export interface ChannelsOptions {
  readonly root: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  readonly clock: Clock;
  readonly runtimeDir: string;
  readonly firstBootMs: number;
  readonly self: { readonly command: string; readonly args: readonly string[] };
  /** Where the agent itself is to listen. */
  readonly ownAddresses: readonly OwnAddress[];
  /** Places that the metadata names and that may be followed, as remembered from a former run. */
  readonly pointers: Pointers;
  /** Sources that were found by a sign before: they are there although it may be gone (an ejected drive). */
  readonly known?: ReadonlySet<string>;
  /** There are other sources now, without anybody's asking: a platform's sign has come late. */
  onSources?(infos: readonly SourceInfo[]): void;
  /** Names of sources that are not wanted here. */
  readonly without?: ReadonlySet<string>;
  emit(observation: Observation): void;
  count(metric: string, labels?: Readonly<Record<string, string>>): void;
  observe?(metric: string, value: number, labels: Readonly<Record<string, string>>): void;
}

export function openChannels(options: ChannelsOptions): Channels {
  const { env, log, clock, ownAddresses } = options;
  const drivers = new Map<string, Driver>();
  const silent = new Set<string>();
  /** Platforms that were found once: an ejected drive or a firmware that cannot be read now does not unmake them. */
  const found = new Set(options.known);
  const lookUntilMono = clock.now().mono + LOOK_FOR_MS;
  let looking: Timer | undefined;
  let { pointers } = options;
  let config: Config | undefined;
  let allAnswered: () => void = () => {};
  const answered = new Promise<void>((resolve) => {
    allAnswered = resolve;
  });

  function make(current: Config, only?: (definition: SourceDefinition<never>) => boolean): readonly SourceInfo[] {
    const foreign = withoutOwnEndpoints({ config: current, env }, ownAddresses);
    for (const from of foreign.dropped)
      log.info({ event: 'own_output', from }, `${from} names the agent itself, which is no source`);
    const facts = readMachineFacts(options.root);
    const environment = {
      root: options.root,
      runtimeDir: options.runtimeDir,
      env: foreign.env,
      log,
      firstBootMs: options.firstBootMs,
      facts,
      pointers,
      self: options.self,
    };
    for (const { definition, used, sign } of chooseSources(foreign.config, environment, found))
      if (used && sign !== undefined) found.add(definition.name);
    for (const source of createSources(foreign.config, environment, { known: found, ...(only && { only }) })) {
      if (options.without?.has(source.name)) continue;
      silent.add(source.name);
      drivers.get(source.name)?.stop();
      const emit = (observation: Observation): void => {
        options.emit(observation);
        silent.delete(observation.source);
        if (silent.size === 0) allAnswered();
      };
      drivers.set(source.name, startDriver(source, { ...options, emit }));
    }
    return infos();
  }

  const infos = (): readonly SourceInfo[] =>
    [...drivers.values()].map((driver) => {
      const info = driver.info();
      return found.has(info.name) ? { ...info, found: true } : info;
    });

  /** Signs that were not there when the sources were made. */
  function lookAgain(): void {
    looking?.cancel();
    looking = undefined;
    if (config === undefined || options.onSources === undefined || clock.now().mono >= lookUntilMono) return;
    looking = startTimer(clock, clock.now().mono + LOOK_AGAIN_MS, () => {
      if (config === undefined) return;
      const choices = chooseSources(config, { facts: readMachineFacts(options.root) }, found);
      const late = choices.filter(({ definition, why }) => why === 'detected' && !drivers.has(definition.name));
      const names = late.map(({ definition }) => definition.name).filter((name) => !options.without?.has(name));
      if (names.length > 0) {
        for (const { definition, sign } of late)
          log.info({ event: 'source_detected_late', source: definition.name }, `${definition.name}: ${sign}`);
        options.onSources?.(make(config, (definition) => names.includes(definition.name)));
      }
      lookAgain();
    });
  }

  const stop = (): void => {
    looking?.cancel();
    looking = undefined;
    for (const driver of drivers.values()) driver.stop();
    drivers.clear();
    silent.clear();
  };

  return {
    start(next) {
      config = next;
      stop();
      lookAgain();
      return make(next);
    },
    follow(next) {
      pointers = next;
      if (config === undefined) return [];
      return make(config, (definition) => definition.followsPointers === true);
    },
    pollAll: () => Promise.all([...drivers.values()].map((driver) => driver.pollNow(true))),
    pollSoon: (source, inMs) => drivers.get(source)?.pollSoon(inMs),
    infos,
    live: () => [...drivers.values()].map((driver) => driver.live()),
    silent: () => [...silent],
    answered,
    back: speakBack((source) => drivers.get(source)),
    stop,
  };
}
