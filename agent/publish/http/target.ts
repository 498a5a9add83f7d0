/** Paths as people type them: a slash too many or too few at the end changes nothing. */

/** A directory of keys ends in a slash; of a key's own name every character counts, since it comes from the host. */
const FEATURES = /^\/(?:p\/[^/?]*\/)?(?:machinefeatures|jobfeatures|jobstatus)(\/|$)/;

/** The target with which the routes are asked: `/machinefeatures/` and `/v1/lifetime`, however they were written. */
export function settledTarget(target: string): string {
  const end = target.indexOf('?');
  const path = end < 0 ? target : target.slice(0, end);
  const query = end < 0 ? '' : target.slice(end);
  const [, slash] = FEATURES.exec(path) ?? [];
  if (slash !== undefined) return slash === '' ? `${path}/${query}` : target;
  // What is no path stays what it is, so that it is refused as that.
  return /^\/[^/].*\/$/.test(path) ? `${path.slice(0, -1)}${query}` : target;
}
