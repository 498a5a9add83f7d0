/** Strong entity tags from content alone, and their comparison (RFC 9110, 8.8.3 and 13.1). */
import { createHash } from 'node:crypto';

/** 132 bits of SHA-256: no two contents of one resource share it. */
const TAG_LENGTH = 22;

export function etagOf(content: string | Buffer): string {
  return `"${createHash('sha256').update(content).digest('base64url').slice(0, TAG_LENGTH)}"`;
}

/** Without quotes and `W/`: clients write it either way in `last_etag` and `Last-Event-ID`. */
export function bareEtag(etag: string): string {
  return etag
    .trim()
    .replace(/^W\//, '')
    .replace(/^"(.*)"$/, '$1');
}

/** `If-None-Match` compares weakly: any listed tag, or `*`. */
export function matchesEtag(ifNoneMatch: string | undefined, etag: string): boolean {
  if (ifNoneMatch === undefined) return false;
  const bare = bareEtag(etag);
  return ifNoneMatch.split(',').some((tag) => tag.trim() === '*' || bareEtag(tag) === bare);
}
