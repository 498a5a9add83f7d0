/**
 * A small Debian with systemd, and systemd-nspawn to boot it, made once and kept in the user's cache: a minute the first
 * time. Only packages of Debian's own archive; nothing of this machine is upgraded for it.
 */
import fs from 'node:fs';
import path from 'node:path';
import { cachePlace, found, make } from '../support/cached-tree.ts';

/** What SYSTEMS.md was measured on. */
const SUITE = 'bookworm';
/** Counted up when the packages below change: an older root is not taken for this one. */
const EDITION = 1;
const PACKAGES = 'systemd,systemd-sysv,dbus';
const BUILD_SECS = 600;
const NEEDED = ['unshare', 'nsenter', 'mount', 'flock', 'setpriv'] as const;

export interface TestRoot {
  /** Of the file system to boot; never written to. */
  readonly dir: string;
  readonly nspawn: string;
  /** LD_LIBRARY_PATH for nspawn; empty where it is installed. */
  readonly libraries: string;
}

/** `$1` cache, `$2` suite, `$3` packages, `$4` `yes` where nspawn is not installed. */
const BUILD = `set -e
umask 022
[ -e "$1/complete" ] && exit 0
rm -rf --one-file-system "$1"
work=$(mktemp -d "$1.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
chmod 755 "$work"
cd "$work"
if [ "$4" = yes ]; then
  # Unpacked, not installed: the machine's own systemd may be of another version.
  apt-get -o APT::Sandbox::User=root download systemd-container libsystemd-shared
  for package in ./*.deb; do dpkg -x "$package" tools; done
  rm ./*.deb
fi
debootstrap --variant=minbase --include="$3" "$2" root
touch complete
mv "$work" "$1"
trap - EXIT`;

/** Makes it where it is missing; a sentence where that cannot be. */
export function testRoot(): TestRoot | { readonly reason: string } {
  if (process.platform !== 'linux' || process.getuid?.() !== 0)
    return { reason: 'needs root on Linux, for a container' };
  const missing = NEEDED.find((tool) => found(tool) === null);
  if (missing !== undefined) return { reason: `needs ${missing}` };
  const cache = cachePlace(`systemd-${SUITE}-${EDITION}`);
  const installed = found('systemd-nspawn');
  if (!fs.existsSync(path.join(cache, 'complete'))) {
    const failed = build(cache, installed === null);
    if (failed !== null) return { reason: failed };
  }
  const tools = path.join(cache, 'tools');
  const dir = path.join(cache, 'root');
  if (installed !== null) return { dir, nspawn: installed, libraries: '' };
  const shared = librariesBelow(tools);
  return shared === null
    ? { reason: `systemd-nspawn is not installed, and not in ${cache} either: remove that directory and try again` }
    : { dir, nspawn: path.join(tools, 'usr/bin/systemd-nspawn'), libraries: shared };
}

function build(cache: string, withNspawn: boolean): string | null {
  const lacks = ['debootstrap', ...(withNspawn ? ['apt-get', 'dpkg'] : [])].find((tool) => found(tool) === null);
  if (lacks !== undefined) return `needs ${lacks}, to make a root to boot`;
  const failed = make(cache, BUILD, [cache, SUITE, PACKAGES, withNspawn ? 'yes' : 'no'], BUILD_SECS);
  return failed === null ? null : `no root could be made (debootstrap ${SUITE}): ${failed.said}`;
}

function librariesBelow(tools: string): string | null {
  const lib = path.join(tools, 'usr/lib');
  if (!fs.existsSync(lib)) return null;
  const file = fs
    .readdirSync(lib, { recursive: true, encoding: 'utf8' })
    .find((name) => /libsystemd-shared-/.test(name));
  return file === undefined ? null : path.dirname(path.join(lib, file));
}
