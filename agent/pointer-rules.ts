/**
 * Which places that a platform's metadata names may be followed. Whoever writes a machine's tags or its user template is not
 * always who owns the machine, and the agent may be root: it must not become his hand.
 */
import path from 'node:path';
import { POINTER_NAMES, type PointerName, type Pointers } from './lifetime/types.ts';

export interface PointerSurroundings {
  /** Whether a URL leads to this very agent. */
  isOwn(url: string): boolean;
  /** Mount points of this machine; null = not known. */
  readonly mounts: ReadonlySet<string> | null;
}

export interface Followable {
  readonly allowed: Pointers;
  readonly refused: readonly { readonly name: PointerName; readonly why: string }[];
}

/** Metadata services themselves: read as features, their other values would pass to everybody (S2.2). */
const METADATA_HOSTS =
  /^(?:169\.254\.169\.254|100\.100\.100\.200|metadata(?:\.google\.internal|\.tencentyun\.com)?|\[fd00:ec2::254\]|\[fe80::a9fe:a9fe(?:%25\w+)?\])$/i;
/** Where on such an address the metadata is. A small site may serve features beside it. */
const METADATA_PATH = /^\/+(?:latest|openstack|computeMetadata|metadata|\d{4}-\d{2}-\d{2})(?:\/|$)/i;
/** Where a host shares directories with its guest, besides mounts of its own. */
const HOST_SHARE = '/run/mjf-host/';

/** Pure. A directory to read may be anywhere, since only known names pass from it; one to write to is the host's by its mount. */
export function followable(pointers: Pointers, { isOwn, mounts }: PointerSurroundings): Followable {
  const allowed: { -readonly [K in PointerName]?: string } = {};
  const refused: { name: PointerName; why: string }[] = [];
  for (const name of POINTER_NAMES) {
    const place = pointers[name];
    if (place === undefined) continue;
    const why = place.startsWith('/') ? whyNotPath(name, place, mounts) : whyNotUrl(place, isOwn);
    if (why === undefined) allowed[name] = place;
    else refused.push({ name, why });
  }
  return { allowed, refused };
}

function whyNotUrl(place: string, isOwn: PointerSurroundings['isOwn']): string | undefined {
  const [, host = '', below = ''] = /^https?:\/\/(?:[^@/]*@)?(\[[^\]]*\]|[^:/?#]*)(?::\d*)?([^?#]*)/i.exec(place) ?? [];
  if (host === '') return 'it is no URL';
  // As the client would ask it: without dot segments and needless escapes.
  const asked = pathOf(below);
  if (METADATA_HOSTS.test(host.replace(/\.$/, '')) && METADATA_PATH.test(asked))
    return 'it is the metadata service itself';
  return isOwn(place) ? 'it leads to the agent itself' : undefined;
}

function pathOf(below: string): string {
  try {
    return decodeURI(new URL(below, 'http://host').pathname);
  } catch {
    return below;
  }
}

function whyNotPath(name: PointerName, place: string, mounts: PointerSurroundings['mounts']): string | undefined {
  if (name !== 'joboutputs') return undefined;
  const plain = path.resolve('/', place);
  if (plain.startsWith(HOST_SHARE) || (plain !== '/' && mounts?.has(plain))) return undefined;
  return `files are written only to what the host mounts, or below ${HOST_SHARE}`;
}
