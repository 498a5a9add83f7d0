#!/bin/sh
# Drains a machine: tells it that it goes down so many seconds from now, or takes that back.
#   drain.sh PLATFORM MACHINE SECONDS|never
# The agent takes no new work from [stop] drain before that time on (30 minutes: with fewer seconds, at once), stops payloads
# [stop] grace before it, and says when the machine can go (can_terminate). The key is shutdowntime everywhere.
set -eu
usage() {
  echo 'usage: drain.sh openstack|opennebula|onegate|ec2|gce|azure|directory MACHINE SECONDS|never' >&2
  exit 64
}
[ $# -eq 3 ] || usage
platform=$1 machine=$2
case $3 in
  never) at= ;;
  # With a leading zero the shell would take it for octal.
  '' | *[!0-9]* | 0?*) usage ;;
  *) at=$(($(date +%s) + $3)) ;;
esac

case $platform${at:+-at} in
  # Seen within a minute. Not by a machine that has only a config drive: that never changes.
  openstack-at) openstack server set --property "shutdowntime=$at" "$machine" ;;
  openstack) openstack server unset --property shutdowntime "$machine" ;;
  # On the front-end; taken back in the editor (onevm update MACHINE), or over OneGate.
  opennebula-at)
    file=$(mktemp)
    echo "SHUTDOWNTIME = \"$at\"" > "$file"
    onevm update "$machine" "$file" --append
    rm "$file"
    ;;
  # From another machine of the same service. Without the program onegate, what it sends (for this very machine: /vm):
  #   curl -X PUT -H "X-ONEGATE-TOKEN: $(cat token.txt)" -H "X-ONEGATE-VMID: $VMID" \
  #     --data-binary "SHUTDOWNTIME = \"$at\"" "$ONEGATE_ENDPOINT/vms/$machine"
  onegate-at) onegate vm update "$machine" --data "SHUTDOWNTIME=$at" ;;
  onegate) onegate vm update "$machine" --erase SHUTDOWNTIME ;;
  # With instance tags in the metadata: InstanceMetadataTags=enabled.
  ec2-at) aws ec2 create-tags --resources "$machine" --tags "Key=shutdowntime,Value=$at" ;;
  ec2) aws ec2 delete-tags --resources "$machine" --tags Key=shutdowntime ;;
  gce-at) gcloud compute instances add-metadata "$machine" --metadata "shutdowntime=$at" ;;
  gce) gcloud compute instances remove-metadata "$machine" --keys shutdowntime ;;
  # MACHINE: the resource's id.
  azure-at) az vm update --ids "$machine" --set "tags.shutdowntime=$at" ;;
  azure) az vm update --ids "$machine" --remove tags.shutdowntime ;;
  # MACHINE: the directory that is shared with it (qemu.sh). By rename: nobody reads half a value.
  directory-at)
    echo "$at" > "$machine/machinefeatures/.shutdowntime"
    chmod 0644 "$machine/machinefeatures/.shutdowntime"
    mv "$machine/machinefeatures/.shutdowntime" "$machine/machinefeatures/shutdowntime"
    ;;
  directory) rm -f "$machine/machinefeatures/shutdowntime" ;;
  *) usage ;;
esac
