#!/bin/sh
# A machine of the reader's own, in new namespaces: unshare --net --mount --pid --fork --kill-child --mount-proc sandbox.sh ROOT COMMAND…
# Nothing of what is done in it reaches the real one: what is written goes to memory, the project is read-only, the network is
# a loopback, and all processes end with the first.
set -eu
root=$1
shift
ip link set lo up
mount -t tmpfs none /mnt
mkdir /mnt/project /mnt/bin /mnt/home /mnt/upper /mnt/work
mount --bind "$root" /mnt/project
mount -o remount,bind,ro /mnt/project
for place in etc usr var root home; do
  mkdir "/mnt/upper/$place" "/mnt/work/$place"
  mount -t overlay overlay -o "lowerdir=/$place,upperdir=/mnt/upper/$place,workdir=/mnt/work/$place" "/$place"
done
# What tells of a platform, too: the machine on which the tests run may be some cloud's.
for place in /run /srv /tmp /opt /sys/class /sys/hypervisor /sys/firmware /dev/disk /usr/share/doc; do
  if [ -d "$place" ]; then mount -t tmpfs none "$place"; fi
done
rm -rf /etc/mjf-agent /etc/machinefeatures /etc/jobfeatures /var/lib/mjf-agent
mkdir -p /run/lock
cd /mnt/project
# Not exec: the first process of a name space must take in what others leave behind.
"$@"
