/**
 * Custom metadata of the instance, `instance/attributes/`: the site's keys among whatever else a tenant keeps there. All at
 * once as JSON; where that is too much (scripts of hundreds of kilobytes) or unknown (emulators), the names first and then
 * the few that are ours.
 */
import type { GceClient, GceRequest } from './gce-client.ts';
import { asRecord, asText, parseJson } from './json.ts';
import type { MetadataAnswer } from './metadata.ts';
import type { PartReport } from './parts.ts';
import { isSiteKey, siteKeys, wantedNames } from './site-keys.ts';
import { SourceError } from './source.ts';

const PATH = '/instance/attributes/';
/** Nobody else on this platform gives keys, and it has looked through all there are. */
const ALL = { others: 'absent', whole: ['keys'] } as const;
/** Of those that nobody knows. A site has a dozen. */
const MAX_SINGLE_KEYS = 64;

export interface Attributes {
  ask(request: GceRequest): Promise<MetadataAnswer>;
  judge(answer: MetadataAnswer, signal: AbortSignal): Promise<PartReport>;
}

export function createAttributes(client: Pick<GceClient, 'ask'>): Attributes {
  /** The service answers with names only. */
  let namesOnly = false;

  async function ask(request: GceRequest): Promise<MetadataAnswer> {
    if (namesOnly) return await client.ask(PATH, request);
    try {
      return await client.ask(PATH, { ...request, query: { ...request.query, recursive: 'true', alt: 'json' } });
    } catch (error) {
      if (!(error instanceof SourceError && error.code === 'too_large')) throw error;
      namesOnly = true;
      return await client.ask(PATH, { ...request, query: {} });
    }
  }

  async function judge(answer: MetadataAnswer, signal: AbortSignal): Promise<PartReport> {
    const { hostNowMs } = answer;
    const common = hostNowMs === undefined ? {} : { hostNowMs };
    if (answer.is === 'absent') return { ...common, ...ALL };
    const names = namesIn(answer.text);
    if (!namesOnly && names?.some(isSiteKey)) namesOnly = true;
    if (namesOnly) {
      if (names === undefined) throw new SourceError('bad_value', 'attributes is no list of names');
      return { ...common, ...siteKeys(await values(names, signal)), ...ALL };
    }
    // A list of names of which none is ours says nothing that we would want to know.
    if (names !== undefined && names.length > 0) return common;
    const document = asRecord(parseJson(answer.text, 'attributes'));
    if (document === undefined) throw new SourceError('bad_json', 'attributes is no object');
    const given = Object.entries(document).flatMap(([name, value]) => {
      const text = asText(value);
      return text === undefined ? [] : [[name, text] as const];
    });
    return { ...common, ...siteKeys(given), ...ALL };
  }

  async function values(
    names: readonly string[],
    signal: AbortSignal,
  ): Promise<readonly (readonly [string, string])[]> {
    const wanted = wantedNames(names, MAX_SINGLE_KEYS);
    const answers = await Promise.all(
      wanted.map(async (name) => [name, await client.ask(PATH + encodeURIComponent(name), { signal })] as const),
    );
    return answers.flatMap(([name, { is, text }]) => (is === 'text' ? [[name, text] as const] : []));
  }

  return { ask, judge };
}

/** One name a line; undefined for anything else. JSON and HTML are no such thing. */
function namesIn(text: string): readonly string[] | undefined {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  return lines.every((line) => /^[A-Za-z_][\w.@-]*\/?\r?$/.test(line)) ? lines.map((line) => line.trim()) : undefined;
}
