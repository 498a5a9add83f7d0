/** What the payload is told of where its features are, once it is known whether there is a daemon. */
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readBaseUrl } from '../client.ts';
import { featurePlaces } from '../commands/feature-places.ts';
import type { Places } from './environment.ts';

/** The files of a view are written before the daemon answers, but for what was over its bound or waits for a jump (S4.2: 2 s). */
const SHOWN_BOUND_MS = 2_500;
const LOOK_MS = 20;

/**
 * Where the daemon publishes: the payload's own view where it keeps one (null: it does not), else what is everybody's.
 * `complain` hears when the payload does not get what was asked for.
 */
export async function daemonPlaces(options: {
  readonly runtimeDir: string;
  readonly view: string | null;
  readonly features: 'path' | 'url';
  complain(sentence: string): void;
}): Promise<Places> {
  const { runtimeDir, view, features } = options;
  const url = await readBaseUrl(runtimeDir);
  if (features === 'url' && url === undefined)
    options.complain('the daemon has no HTTP interface: the payload gets paths');
  const joboutputs = url === undefined ? undefined : `${url}/joboutputs`;
  if (features === 'url' && url !== undefined) {
    const base = view === null ? url : `${url}/p/${view}`;
    return { machinefeatures: `${base}/machinefeatures`, jobfeatures: `${base}/jobfeatures`, joboutputs };
  }
  if (view === null) return { ...featurePlaces(runtimeDir), joboutputs };
  const dir = path.join(runtimeDir, 'views', view);
  await untilThere(dir);
  const [machinefeatures, jobfeatures] = [path.join(dir, 'machinefeatures'), path.join(dir, 'jobfeatures')];
  return { machinefeatures, jobfeatures, joboutputs };
}

/** The payload's row under the daemon's HTTP address; undefined where there is no row, or no address. */
export async function payloadUrl(runtimeDir: string, id: string | null): Promise<string | undefined> {
  const base = id === null ? undefined : await readBaseUrl(runtimeDir);
  return base === undefined || id === null ? undefined : `${base}/v1/payloads/${encodeURIComponent(id)}`;
}

/** Bounded: where no feature is known at all there is no directory either, and it comes with the first one. */
async function untilThere(dir: string): Promise<void> {
  const giveUpAt = performance.now() + SHOWN_BOUND_MS;
  while (!fs.existsSync(dir) && performance.now() < giveUpAt) await sleep(LOOK_MS);
}
