/** What a directory GET of a Machine/Job Features server names: Vac answers with HTML links, others with one name a line. */

/** A hostile or mistaken page must not make a guest ask for thousands of names each poll. */
const MAX_LISTED = 64;
const LEGAL_KEY = /^[a-z0-9_]{1,64}$/;
/** The length bounds keep the search linear on a page full of unfinished tags. */
const LINK = /<a\s[^<>]{0,256}?href\s{0,8}=\s{0,8}(?:"([^"<>]{0,512})"|'([^'<>]{0,512})'|([^\s"'<>]{1,512}))/gi;

/**
 * Legal key names in a listing of `baseUrl` (no trailing slash). Only ever adds to the names that are asked anyway, so a
 * front page that lists nothing, or something else, does no harm.
 */
export function namesInListing(body: string, baseUrl: string): readonly string[] {
  const names = new Set<string>();
  for (const name of /<a\s/i.test(body) ? linkedNames(body, baseUrl) : body.split(/\r\n|\n/, 1000)) {
    const key = name.trim();
    // `constructor` and `__proto__` are legal by the letter; as keys of plain objects they would be traps.
    if (LEGAL_KEY.test(key) && !(key in Object.prototype)) names.add(key);
    if (names.size >= MAX_LISTED) break;
  }
  return [...names];
}

function* linkedNames(body: string, baseUrl: string): Generator<string> {
  // The zone of an IPv6 address means nothing for comparing names, and `URL` refuses it.
  const base = new URL(`${baseUrl.replace(/%[^\]]*\]/, ']')}/`);
  for (const [, double, single, bare] of body.matchAll(LINK)) {
    let link: URL;
    try {
      link = new URL(double ?? single ?? bare ?? '', base);
    } catch {
      continue;
    }
    if (link.origin === base.origin && link.pathname.startsWith(base.pathname)) {
      yield link.pathname.slice(base.pathname.length);
    }
  }
}
