/** URLs of a Machine/Job Features server: a query may stand behind its base, and is a secret (a signature, a token). */
import { parseTarget } from './link-local-target.ts';

/** `http://host/mf?sig=x`, `total_cpu` → `http://host/mf/total_cpu?sig=x`. Without a key: the base's listing. */
export function keyUrl(base: string, key: string): string {
  const { place, query } = splitBase(base);
  return `${place}/${key}${query}`;
}

/** The base without its query and slashes at its end. */
export const placeOf = (base: string): string => splitBase(base).place;

/** For people, logs and `/v1/sources`: neither query nor user nor password. */
export function shownUrl(url: string): string {
  const target = parseTarget(url);
  return typeof target === 'string' ? '(unusable URL)' : target.shown;
}

function splitBase(base: string): { readonly place: string; readonly query: string } {
  const [whole = ''] = base.split('#', 1);
  const at = whole.indexOf('?');
  const place = at < 0 ? whole : whole.slice(0, at);
  return { place: place.replace(/\/+$/, ''), query: at < 0 ? '' : whole.slice(at) };
}
