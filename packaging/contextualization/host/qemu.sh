#!/bin/sh
# QEMU with a channel to mjf-agent in the guest: qemu.sh 9p|virtiofs|fw_cfg OTHER-ARGUMENTS-OF-QEMU…
# DIR holds machinefeatures/ and jobfeatures/ with one file a key, and an empty jobstatus/ (mode 1777) for the machine's answer.
# Keys are replaced by rename (drain.sh directory). The guest mounts them as guest.fstab says.
set -eu
DIR=${DIR:-/srv/mjf/vm-17}
MEMORY=${MEMORY:-2G}
channel=$1
shift

case $channel in
  9p)
    # The guest may read the features, and write nothing but its own answer.
    set -- "$@" \
      -fsdev "local,id=mjf-host,path=$DIR,security_model=none,readonly=on" \
      -device virtio-9p-pci,fsdev=mjf-host,mount_tag=mjf-host \
      -fsdev "local,id=mjf-jobstatus,path=$DIR/jobstatus,security_model=mapped-xattr" \
      -device virtio-9p-pci,fsdev=mjf-jobstatus,mount_tag=mjf-jobstatus
    ;;
  virtiofs)
    # Before it, as root:  virtiofsd --socket-path="$DIR.sock" --shared-dir="$DIR" --cache=never --readonly
    # (an old one has no --readonly: then the guest's root can write the features). It wants the guest's memory shared with it.
    # The way back is another one on DIR/jobstatus, tag mjf-jobstatus.
    set -- "$@" -m "$MEMORY" \
      -object "memory-backend-memfd,id=mjf-memory,size=$MEMORY,share=on" -machine memory-backend=mjf-memory \
      -chardev "socket,id=mjf-host,path=$DIR.sock" \
      -device vhost-user-fs-pci,chardev=mjf-host,tag=mjf-host
    ;;
  fw_cfg)
    # Read once a boot. As credentials systemd (252 and later) hands them to the agent, which is not root. A name in fw_cfg has 55
    # characters at most: longer ones are SMBIOS strings. Any key at all, as opt/org.example/machinefeatures/KEY, reaches only an
    # agent that is root (the drop-in run-as-root.conf).
    set -- "$@" \
      -fw_cfg name=opt/io.systemd.credentials/mjf.jobfeatures.job_id,string=vm-17 \
      -smbios "type=11,value=io.systemd.credential:mjf.machinefeatures.shutdowntime=$(($(date +%s) + 86400))" \
      -smbios type=11,value=io.systemd.credential:mjf.machinefeatures.grace_secs=7200
    ;;
  *)
    echo 'usage: qemu.sh 9p|virtiofs|fw_cfg OTHER-ARGUMENTS-OF-QEMU…' >&2
    exit 64
    ;;
esac
exec "${QEMU:-qemu-system-x86_64}" "$@"
