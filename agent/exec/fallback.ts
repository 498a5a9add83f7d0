/** The host's channels, read by `exec` itself while there is no daemon that does (SEMANTICS S3.8). */
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import type { Config } from '../config/types.ts';
import type { Observation, SourceInfo } from '../lifetime/types.ts';
import { selfCommand } from '../self.ts';
import { createSources } from '../sources/create.ts';
import { type Driver, startDriver } from '../sources/driver.ts';

/** What the machine is says nothing of how long it lives; `exec` needs only the channels that do. */
const NOT_NEEDED: ReadonlySet<string> = new Set(['self']);
/** Nowhere: what a dead daemon left published is the last truth there is, and so a channel for `exec`. */
const NO_OUTPUT_OF_OURS = '/dev/null/mjf-agent';

export interface OwnSources {
  start(): void;
  stop(): void;
  infos(): readonly SourceInfo[];
  pollAll(): Promise<unknown>;
}

export function ownSources(options: {
  readonly config: Config;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  readonly clock: Clock;
  emit(observation: Observation): void;
}): OwnSources {
  const { config, env, log, clock, emit } = options;
  const drivers: Driver[] = [];
  return {
    start() {
      if (drivers.length > 0) return;
      const bootMs = clock.now().wall - clock.bootMs();
      const environment = {
        root: '/',
        runtimeDir: NO_OUTPUT_OF_OURS,
        env,
        log,
        firstBootMs: bootMs,
        self: selfCommand(),
      };
      for (const source of createSources(config, environment)) {
        if (!NOT_NEEDED.has(source.name)) drivers.push(startDriver(source, { emit, log, clock, count: () => {} }));
      }
    },
    stop() {
      for (const driver of drivers.splice(0)) driver.stop();
    },
    infos: () => drivers.map((driver) => driver.info()),
    pollAll: () => Promise.all(drivers.map((driver) => driver.pollNow(true))),
  };
}
