/** A URL as the careful client takes it. WHATWG `URL` refuses IPv6 zones, which link-local metadata services need. */

export interface Target {
  readonly protocol: 'http:' | 'https:';
  /** For connecting: without brackets, with the zone. */
  readonly host: string;
  readonly port: number;
  /** Path and query. */
  readonly path: string;
  /** For the `Host` header: without the zone, which means nothing to the other side (RFC 6874). */
  readonly authority: string;
  /** For people: no query, which may hold a token. */
  readonly shown: string;
}

/** `http://[fe80::1%25eth0]:8080/`: RFC 6874 writes the percent sign as `%25`, people and tools often do not. */
const ZONE = /^(https?:\/\/\[[0-9a-f:.]+)%(?:25)?([0-9a-z_.-]{1,15})(\].*)$/i;

/** The target, or a sentence saying why the URL is none. */
export function parseTarget(text: string): Target | string {
  const zoned = ZONE.exec(text);
  let url: URL;
  try {
    url = new URL(zoned ? `${zoned[1]}${zoned[3]}` : text);
  } catch {
    return 'not a URL';
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return `not an http or https URL (${url.protocol})`;
  // They would end up in logs and in the channel's name.
  if (url.username !== '' || url.password !== '') return 'a URL with credentials is not accepted';
  const bare = url.hostname.replace(/^\[|\]$/g, '');
  const host = zoned ? `${bare}%${zoned[2]}` : bare;
  return {
    protocol: url.protocol,
    host,
    port: url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port),
    path: `${url.pathname}${url.search}`,
    authority: url.host,
    shown: `${url.protocol}//${zoned ? `[${host}]${url.port === '' ? '' : `:${url.port}`}` : url.host}${url.pathname}`,
  };
}
