/**
 * The way to GCE's metadata service: the header that it demands, the path of its one version, and its address where its
 * name cannot be resolved (an image without a resolver, or one of the site's own that knows no `metadata.google.internal`).
 */
import { createMetadata, type Metadata, type MetadataAnswer, type MetadataRequest } from './metadata.ts';
import { type SourceEnvironment, SourceError } from './source.ts';

export type GceRequest = Pick<
  MetadataRequest,
  'signal' | 'query' | 'headers' | 'timeoutMs' | 'idle' | 'method' | 'body'
>;

export interface GceClient {
  /**
   * `path` below `/computeMetadata/v1`, e.g. `/instance/preempted`.
   * @throws SourceError as `Metadata.ask`.
   */
  ask(path: string, request: GceRequest): Promise<MetadataAnswer>;
  close(): void;
}

export const NAMED_URL = 'http://metadata.google.internal';
const ADDRESS_URL = 'http://169.254.169.254';
const VERSION_PATH = '/computeMetadata/v1';

/** Where to ask: what is configured and nothing else, or the name and then the address. */
export const gceBases = (configured: string | undefined): readonly string[] =>
  configured === undefined ? [NAMED_URL, ADDRESS_URL] : [configured];

/** `bases`: tried in this order as long as none has answered, each with or without `/computeMetadata/v1`. */
export function createGceClient(
  bases: readonly string[],
  options: { readonly timeoutMs: number; readonly maxSockets: number },
  environment: Pick<SourceEnvironment, 'trace'>,
): GceClient {
  const doors = bases.map(
    (base): Metadata =>
      createMetadata(
        {
          source: 'gce',
          baseUrl: withVersion(base),
          // Proof to the service that nobody tricked us into asking. Its own such header is not demanded: emulators lack it.
          headers: () => ({ 'metadata-flavor': 'Google' }),
          ...options,
        },
        environment,
      ),
  );
  /** The one that was reached last; before the first answer, the first. */
  let current = 0;
  let reached = false;

  async function through(index: number, path: string, request: GceRequest): Promise<MetadataAnswer> {
    const door = doors[index];
    if (door === undefined) throw new SourceError('bad_url', 'no base URL');
    try {
      const answer = await door.ask(path, request);
      [current, reached] = [index, true];
      return answer;
    } catch (error) {
      // Whoever refuses is there.
      if (error instanceof SourceError && /^http_/.test(error.code)) [current, reached] = [index, true];
      throw error;
    }
  }

  return {
    async ask(path, request) {
      const first = current;
      try {
        return await through(first, path, request);
      } catch (error) {
        if (!isNameTrouble(error, reached) || request.signal.aborted) throw error;
        for (const index of doors.keys()) {
          if (index === first) continue;
          try {
            return await through(index, path, request);
          } catch {
            // What the first one said is what a person must know.
          }
        }
        throw error;
      }
    },
    close() {
      for (const door of doors) door.close();
    },
  };
}

/** A resolver that is down does not say so: until somebody has answered, silence counts as that. */
const isNameTrouble = (error: unknown, reached: boolean): boolean =>
  error instanceof SourceError && (error.code === 'dns' || (error.code === 'timeout' && !reached));

const withVersion = (base: string): string =>
  base.replace(/\/+$/, '').replace(/\/computeMetadata(\/v1)?$/, '') + VERSION_PATH;
