/**
 * Which places that a platform's metadata names may be followed. Whoever writes a machine's tags or its user template is not
 * always who owns the machine, and the agent may be root: it must not become his hand.
 */
import path from 'node:path';
import { POINTER_NAMES, type PointerName, type Pointers } from './lifetime/types.ts';
import { parseTarget } from './sources/link-local-target.ts';

export interface PointerSurroundings {
  /** Whether a URL leads to this very agent. */
  isOwn(url: string): boolean;
  /** Mount points of what a host shares with this machine; null = not known. */
  readonly mounts: ReadonlySet<string> | null;
}

export interface Followable {
  readonly allowed: Pointers;
  readonly refused: readonly { readonly name: PointerName; readonly why: string }[];
}

/** Metadata services themselves: read as features, their other values would pass to everybody (S2.2). In normal spelling. */
const METADATA_HOSTS: ReadonlySet<string> = new Set([
  '169.254.169.254',
  '::ffff:a9fe:a9fe',
  '100.100.100.200',
  '::ffff:6464:64c8',
  'fd00:ec2::254',
  'fe80::a9fe:a9fe',
  'metadata',
  'metadata.google.internal',
  'metadata.tencentyun.com',
]);
/** Where on such an address the metadata is; its root lists it. A small site may serve features beside it. */
const METADATA_PATH =
  /^\/*(?:(?:latest|openstack|opc|computeMetadata|metadata|\d{4}-\d{2}-\d{2}|\d+\.\d+|v\d+)(?:\/|\?|$)|\?|$)/i;
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

/** As the client will ask it, whatever the spelling: numbers for addresses, backslashes, escapes, dot segments. */
function whyNotUrl(place: string, isOwn: PointerSurroundings['isOwn']): string | undefined {
  // A place to write to may want a user and password; what it is does not depend on them.
  const target = parseTarget(place.replace(/^(https?:[/\\]{2})[^/\\?#]*@/i, '$1'));
  if (typeof target === 'string') return `it is ${target}`;
  const host = target.host.toLowerCase().replace(/%.*$/, '').replace(/\.$/, '');
  if (METADATA_HOSTS.has(host) && METADATA_PATH.test(unescaped(target.path)))
    return 'it is the metadata service itself';
  return isOwn(place) ? 'it leads to the agent itself' : undefined;
}

function unescaped(path: string): string {
  try {
    return decodeURI(path);
  } catch {
    return path;
  }
}

function whyNotPath(name: PointerName, place: string, mounts: PointerSurroundings['mounts']): string | undefined {
  if (name !== 'joboutputs') return undefined;
  const plain = path.resolve('/', place);
  if (plain.startsWith(HOST_SHARE) || (plain !== '/' && mounts?.has(plain))) return undefined;
  return `files are written only to what the host mounts, or below ${HOST_SHARE}`;
}
