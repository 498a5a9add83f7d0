/**
 * What a guest boots: a Debian with systemd, its own kernel and a small initrd, made once and kept in the user's cache (two
 * minutes the first time), and of it one disk for each package that is tried, with that package installed as an operator
 * installs it into an image. Only packages of Debian's own archive; nothing of this machine is changed.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { cachePlace, found, make } from '../support/cached-tree.ts';
import { FILES } from './files.ts';

const SUITE = 'bookworm';
/** Counted up when what is below changes what the tree is: an older one is not taken for this one. */
const EDITION = 1;
const PACKAGES = 'systemd,systemd-sysv,dbus,udev,iproute2,kmod,procps,nftables';
/** The package of the kernel is what this one depends on. The one for clouds knows no 9p. */
const KERNEL = 'linux-image-amd64';
/** All that a disk without the agent's own drivers must find: what comes before the root, and what after it. */
const BEFORE_ROOT = 'virtio_pci virtio_blk ext4';
const AFTER_ROOT =
  'virtio_net virtio_console 9pnet_virtio 9p isofs nls_utf8 autofs4 evdev button qemu_fw_cfg dmi_sysfs nf_tables';
const TREE_SECS = 900;
const DISK_SECS = 300;
/** What the script ends with where the package is at fault: no reason to skip anything. */
const NOT_INSTALLED = 77;
/** Sparse: what is written counts. */
const DISK_SIZE = '2G';
const NEEDED = [
  'qemu-system-x86_64',
  'qemu-img',
  'mkfs.ext4',
  'nc',
  'unshare',
  'chroot',
  'flock',
  'genisoimage',
] as const;
const NEEDED_ONCE = ['debootstrap', 'apt-get', 'dpkg', 'depmod', 'modprobe', 'cpio', 'gzip', 'xz', 'busybox'] as const;

const PROJECT = fileURLToPath(new URL('../..', import.meta.url));

export interface GuestImage {
  /** Raw, with one file system and no partitions; a backing file, never written to. */
  readonly disk: string;
  readonly kernel: string;
  readonly initrd: string;
}

/** `$1` cache, `$2` suite, `$3` packages, `$4` kernel package, `$5` and `$6` modules. */
const TREE = `set -e
umask 022
[ -e "$1/complete" ] && exit 0
rm -rf --one-file-system "$1"
work=$(mktemp -d "$1.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
chmod 755 "$work"
cd "$work"
package=$(apt-cache depends "$4" | sed -n 's/^ *Depends: \\(linux-image-[0-9].*\\)/\\1/p' | head -n 1)
apt-get -o APT::Sandbox::User=root download "$package"
dpkg -x ./linux-image-*.deb kernel
rm ./*.deb
version=$(ls kernel/lib/modules)
depmod -b kernel "$version"

# Unpacked it boots seconds sooner. Whatever follows it in the file is none of xz's.
offset=$(LC_ALL=C grep -abo "$(printf '\\3757zXZ')" "kernel/boot/vmlinuz-$version" | head -n 1 | cut -d : -f 1)
tail -c "+$((offset + 1))" "kernel/boot/vmlinuz-$version" | xz -dc --single-stream > vmlinux 2> /dev/null || :
[ -s vmlinux ]

debootstrap --variant=minbase --include="$3" "$2" root

# Named one by one: each with what it needs.
needs() { for each in $*; do modprobe -d "$work/kernel" -S "$version" --show-depends "$each"; done; }
needs $5 $6 | sed -n "s|^insmod $work/kernel||p" | sort -u | while read -r file rest; do
  mkdir -p "root$(dirname "$file")"
  cp "kernel$file" "root$file"
done
cp kernel/lib/modules/"$version"/modules.builtin* kernel/lib/modules/"$version"/modules.order "root/lib/modules/$version/"
depmod -b root "$version"

mkdir -p initrd/bin initrd/dev initrd/proc initrd/root initrd/modules
cp "$(command -v busybox)" initrd/bin/busybox
ln -s busybox initrd/bin/sh
needs $5 | sed -n "s|^insmod $work/kernel||p" | awk '!seen[$1]++ { print $1 }' | while read -r file; do
  cp "kernel$file" initrd/modules/
  echo "insmod /modules/$(basename "$file")" >> modules
done
{
  echo '#!/bin/sh'
  echo 'b=/bin/busybox'
  echo '$b mount -t devtmpfs dev /dev'
  echo '$b mount -t proc proc /proc'
  sed 's/^/$b /' modules
  echo 'until [ -b /dev/vda ]; do $b sleep 0.05; done'
  echo '$b mount -t ext4 -o rw /dev/vda /root'
  echo '$b umount /proc'
  echo '$b mount -o move /dev /root/dev'
  echo 'exec $b switch_root /root /lib/systemd/systemd'
} > initrd/init
chmod 755 initrd/init
(cd initrd && find . | cpio -o -H newc --quiet | gzip -1) > initrd.gz
rm -rf kernel initrd modules
touch complete
mv "$work" "$1"
trap - EXIT`;

/**
 * The tree, the package, and what the cases share, in one file system. `$1` tree, `$2` package, `$3` files to lay over it,
 * `$4` disk, `$5` its size. An overlay keeps the tree as it is; all of it ends with the mount name space.
 */
const DISK = `set -e
[ -e "$4" ] && exit 0
mount -t tmpfs none /mnt
mkdir /mnt/up /mnt/work /mnt/root
mount -t overlay overlay -o "lowerdir=$1,upperdir=/mnt/up,workdir=/mnt/work" /mnt/root
cp "$2" /mnt/root/root/agent.deb
chroot /mnt/root env PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive dpkg -i /root/agent.deb ||
  exit ${NOT_INSTALLED}
rm /mnt/root/root/agent.deb
cp -r "$3/." /mnt/root/
chroot /mnt/root env PATH=/usr/sbin:/usr/bin:/sbin:/bin sh /root/settle.sh
mkfs.ext4 -q -F -E lazy_itable_init=1 -d /mnt/root "$4.new" "$5"
mv "$4.new" "$4"`;

/** Makes what is missing; a sentence where that cannot be. Throws where the package itself cannot be installed. */
export function guestImage(): GuestImage | { readonly reason: string } {
  if (process.platform !== 'linux' || process.arch !== 'x64') return { reason: 'needs Linux on x86_64' };
  if (process.getuid?.() !== 0) return { reason: 'needs root, to make a disk' };
  const missing = NEEDED.find((tool) => found(tool) === null);
  if (missing !== undefined) return { reason: `needs ${missing}` };
  const deb = builtPackage();
  if (deb === null) return { reason: 'there is no dist/mjf-agent-standalone_*.deb: run "npm run build:deb" first' };

  const cache = cachePlace(`guest-${SUITE}-${EDITION}`);
  if (!fs.existsSync(path.join(cache, 'complete'))) {
    const lacks = NEEDED_ONCE.find((tool) => found(tool) === null);
    if (lacks !== undefined) return { reason: `needs ${lacks}, to make what a guest boots` };
    const failed = make(cache, TREE, [cache, SUITE, PACKAGES, KERNEL, BEFORE_ROOT, AFTER_ROOT], TREE_SECS);
    if (failed !== null) return { reason: `no tree could be made (debootstrap ${SUITE}): ${failed.said}` };
  }

  const files = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-guest-files-'));
  try {
    for (const [name, { text, mode }] of Object.entries(FILES)) {
      fs.mkdirSync(path.join(files, path.dirname(name)), { recursive: true });
      fs.writeFileSync(path.join(files, name), text, { mode: mode ?? 0o644 });
    }
    const hash = createHash('sha256').update(fs.readFileSync(deb)).update(JSON.stringify(FILES)).update(DISK);
    const disk = path.join(cache, `disk-${hash.digest('hex').slice(0, 16)}.ext4`);
    if (!fs.existsSync(disk)) {
      // One at a time: a disk of a package that is no more is of no use to anybody. Not one that is just being made.
      for (const name of fs.readdirSync(cache).filter((each) => /^disk-.*\.ext4$/.test(each)))
        fs.rmSync(path.join(cache, name), { force: true });
      const failed = make(cache, DISK, [path.join(cache, 'root'), deb, files, disk, DISK_SIZE], DISK_SECS);
      if (failed?.code === NOT_INSTALLED) throw new Error(`${deb} cannot be installed: ${failed.said}`);
      if (failed !== null) return { reason: `no disk could be made: ${failed.said}` };
    }
    return { disk, kernel: path.join(cache, 'vmlinux'), initrd: path.join(cache, 'initrd.gz') };
  } finally {
    fs.rmSync(files, { recursive: true });
  }
}

/** The newest, where several versions were built. */
export function builtPackage(): string | null {
  const dist = path.join(PROJECT, 'dist');
  const names = fs.existsSync(dist) ? fs.readdirSync(dist) : [];
  const files = names
    .filter((name) => /^mjf-agent-standalone_.*\.deb$/.test(name))
    .map((name) => path.join(dist, name))
    .sort((a, b) => fs.statSync(b).mtimeMs - fs.statSync(a).mtimeMs);
  return files[0] ?? null;
}
