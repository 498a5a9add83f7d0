/** What a payload of `exec` finds in its environment (mjf.md: some readers take only a path, others only a URL). */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import type { Config } from '../config/types.ts';
import { mountPoints } from '../mount-points.ts';

/** Where the two feature sets and the outputs are; undefined = not set. */
export interface Places {
  readonly machinefeatures: string | undefined;
  readonly jobfeatures: string | undefined;
  readonly joboutputs: string | undefined;
}

const NAMES = ['machinefeatures', 'jobfeatures'] as const;

/** Where a payload speaks of itself with its daemon: its row. */
export const PAYLOAD_URL = 'MJF_PAYLOAD_URL';

/**
 * The environment with `places`, the payload's own row, and a marker by which processes that leave the group are still found
 * (SYSTEMS.md, "Signals"). Each marker is a variable of its own: what an `exec` within a payload starts carries those of
 * both. The row is the innermost one's alone: without one (`url` undefined) an inner payload must not speak for the outer.
 */
export function payloadEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  places: Places,
  marker: string,
  url: string | undefined,
): NodeJS.ProcessEnv {
  const { [PAYLOAD_URL]: _, ...inherited } = env;
  return {
    ...inherited,
    ...(url !== undefined && { [PAYLOAD_URL]: url }),
    ...(places.machinefeatures !== undefined && { MACHINEFEATURES: places.machinefeatures }),
    ...(places.jobfeatures !== undefined && { JOBFEATURES: places.jobfeatures }),
    ...(places.joboutputs !== undefined && { JOBOUTPUTS: places.joboutputs }),
    [marker.slice(0, marker.indexOf('='))]: marker.slice(marker.indexOf('=') + 1),
  };
}

/** `NAME=VALUE` that no other payload has. */
export const newMarker = (): string => `MJF_AGENT_EXEC_${randomBytes(8).toString('hex')}=1`;

/**
 * Without a daemon: the host's own channels, as `exec` itself reads them. What the environment names already stays; then
 * the configuration, then where a host mounts its directories, then what a dead daemon left.
 */
export function hostPlaces(
  config: Config,
  env: Readonly<Record<string, string | undefined>>,
  left: Readonly<Record<(typeof NAMES)[number], string>>,
): Places {
  const mounted = mountPoints('/');
  // A mount point is not looked at: it may hang.
  const there = (dir: string): boolean => mounted?.has(dir) === true || fs.existsSync(dir);
  const place = (name: (typeof NAMES)[number]): string | undefined => {
    const configured = ['directory', 'mjf']
      .map((source) => textOf(config.source[source], name))
      .find((value) => value !== undefined);
    return env[name.toUpperCase()] ?? configured ?? [`/etc/${name}`, `/run/mjf-host/${name}`, left[name]].find(there);
  };
  const { joboutputs } = config.report;
  const outputs = joboutputs?.enabled === false ? null : (joboutputs?.url ?? joboutputs?.directory);
  return {
    machinefeatures: place('machinefeatures'),
    jobfeatures: place('jobfeatures'),
    joboutputs: env['JOBOUTPUTS'] ?? outputs ?? undefined,
  };
}

function textOf(table: unknown, key: string): string | undefined {
  if (typeof table !== 'object' || table === null) return undefined;
  const value = Object.entries(table).find(([name]) => name === key)?.[1];
  return typeof value === 'string' ? value : undefined;
}
