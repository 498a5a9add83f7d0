/**
 * All channels of the host as they are driven now: which sources there are by the configuration, the machine's own signs and
 * what a platform's metadata points to, each with its driver.
 */
import type { Logger } from 'pino';
import type { Clock } from './clock.ts';
import type { Config } from './config/types.ts';
import type { Observation, Pointers, SourceInfo } from './lifetime/types.ts';
import { isOwnEndpoint, withoutOwnEndpoints } from './own-endpoint.ts';
import type { LiveSource } from './ports.ts';
import { createSources } from './sources/create.ts';
import { type Driver, startDriver } from './sources/driver.ts';
import { readMachineFacts } from './sources/facts.ts';
import type { SourceDefinition } from './sources/source.ts';

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
  /** Ports that the agent itself is to listen on. */
  readonly ownPorts: readonly number[];
  /** As remembered from a former run. */
  readonly pointers: Pointers;
  /** Names of sources that are not wanted here. */
  readonly without?: ReadonlySet<string>;
  emit(observation: Observation): void;
  count(metric: string, labels?: Readonly<Record<string, string>>): void;
}

export function openChannels(options: ChannelsOptions): Channels {
  const { env, log, clock, ownPorts } = options;
  const drivers = new Map<string, Driver>();
  const silent = new Set<string>();
  let { pointers } = options;
  let config: Config | undefined;
  let allAnswered: () => void = () => {};
  const answered = new Promise<void>((resolve) => {
    allAnswered = resolve;
  });

  function make(current: Config, only?: (definition: SourceDefinition<never>) => boolean): readonly SourceInfo[] {
    const foreign = withoutOwnEndpoints({ config: current, env }, ownPorts);
    for (const from of foreign.dropped)
      log.info({ event: 'own_output', from }, `${from} names the agent itself, which is no source`);
    const environment = {
      root: options.root,
      runtimeDir: options.runtimeDir,
      env: foreign.env,
      log,
      firstBootMs: options.firstBootMs,
      facts: readMachineFacts(options.root),
      pointers: withoutOwnPlaces(pointers, ownPorts),
      self: options.self,
    };
    for (const source of createSources(foreign.config, environment, only)) {
      if (options.without?.has(source.name)) continue;
      silent.add(source.name);
      drivers.get(source.name)?.stop();
      const emit = (observation: Observation): void => {
        options.emit(observation);
        silent.delete(observation.source);
        if (silent.size === 0) allAnswered();
      };
      drivers.set(source.name, startDriver(source, { emit, log, clock, count: options.count }));
    }
    return infos();
  }

  const infos = (): readonly SourceInfo[] => [...drivers.values()].map((driver) => driver.info());

  const stop = (): void => {
    for (const driver of drivers.values()) driver.stop();
    drivers.clear();
    silent.clear();
  };

  return {
    start(next) {
      config = next;
      stop();
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
    stop,
  };
}

/** Metadata that was written with this machine's own addresses in mind (a template that exports our URL) leads to ourselves. */
function withoutOwnPlaces(pointers: Pointers, ownPorts: readonly number[]): Pointers {
  return Object.fromEntries(Object.entries(pointers).filter(([, place]) => !isOwnEndpoint(place, ownPorts)));
}
