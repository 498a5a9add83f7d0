/**
 * Where in a metadata service the OpenStack documents are: below `/openstack/latest/`, where that is missing in the newest
 * dated version, and in Vac's spelling with a hyphen (mjf.md, "Programs that write it today").
 */
import type { Metadata, MetadataAnswer } from './metadata.ts';
import { SourceError } from './source.ts';

export interface Tree {
  /** `meta_data.json`, by whatever name. @throws SourceError `http_404` where there is none, and as `Metadata.ask`. */
  metaData(signal: AbortSignal): Promise<MetadataAnswer>;
  /** Another document beside it. Waits for the search for the place, which the others do not repeat. */
  beside(name: string, signal: AbortSignal): Promise<MetadataAnswer>;
}

/** Nova's own list, newest first, for services that do not list theirs. */
const KNOWN_VERSIONS = [
  '2018-08-27',
  '2017-02-22',
  '2016-10-06',
  '2016-06-30',
  '2015-10-15',
  '2013-10-17',
  '2013-04-04',
  '2012-08-10',
] as const;
/** A listing that goes on and on is none. */
const MAX_VERSIONS = 16;
const SPELLINGS = ['meta_data.json', 'meta-data.json'] as const;

interface Place {
  readonly dir: string;
  readonly name: string;
}

export function createTree(metadata: Pick<Metadata, 'ask'>): Tree {
  let place: Place | undefined;
  let searching: Promise<{ readonly place: Place; readonly answer: MetadataAnswer }> | undefined;

  const ask = (path: string, signal: AbortSignal) => metadata.ask(path, { signal });

  async function firstOf(places: readonly Place[], signal: AbortSignal) {
    for (const one of places) {
      const answer = await ask(`${one.dir}/${one.name}`, signal);
      if (answer.is === 'text') return { place: one, answer };
    }
    return undefined;
  }

  async function search(signal: AbortSignal) {
    const latest = SPELLINGS.map((name): Place => ({ dir: '/openstack/latest', name }));
    const found = await firstOf(latest, signal);
    if (found !== undefined) return found;
    const versions = (await listed(signal)) ?? KNOWN_VERSIONS;
    const dated = versions.map((version): Place => ({ dir: `/openstack/${version}`, name: SPELLINGS[0] }));
    const older = await firstOf(dated, signal);
    if (older !== undefined) return older;
    throw new SourceError('http_404', 'the service has no OpenStack metadata for this machine');
  }

  /** Undefined where the service gives no listing. */
  async function listed(signal: AbortSignal): Promise<readonly string[] | undefined> {
    try {
      const answer = await ask('/openstack', signal);
      const versions = new Set(answer.text.match(/\b\d{4}-\d{2}-\d{2}\b/g) ?? []);
      return versions.size === 0 ? undefined : [...versions].sort().reverse().slice(0, MAX_VERSIONS);
    } catch (error) {
      // A redirect or a refusal: web servers that only play the service. A dead one is dead for all.
      if (error instanceof SourceError && /^http_[345]/.test(error.code)) return undefined;
      throw error;
    }
  }

  const searched = (signal: AbortSignal) => {
    searching ??= search(signal)
      .then((found) => {
        place = found.place;
        return found;
      })
      .finally(() => {
        searching = undefined;
      });
    return searching;
  };

  return {
    async metaData(signal) {
      if (place !== undefined) {
        const answer = await ask(`${place.dir}/${place.name}`, signal);
        if (answer.is === 'text') return answer;
        // Nova also says 404 for a machine that it cannot find just now; or the service was replaced by another.
        place = undefined;
      }
      return (await searched(signal)).answer;
    },
    async beside(name, signal) {
      const { dir } = place ?? (await searched(signal)).place;
      return await ask(`${dir}/${name}`, signal);
    },
  };
}
