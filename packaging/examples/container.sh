#!/bin/sh
# A payload in a container:   ./container.sh podman|apptainer|service IMAGE COMMAND…
# It sees the agent's files, reaches the agent on localhost, and gets its SIGTERM through the engine.
set -eu
engine=$1
shift
case $engine in
  # These variables are the payload's own, set by "exec"; a name without a value is handed on.
  podman)
    set -- podman run --rm --network=host --volume /run/mjf-agent:/run/mjf-agent:ro \
      --env MACHINEFEATURES --env JOBFEATURES --env JOBOUTPUTS --env MJF_PAYLOAD_URL "$@"
    ;;
  # It hands on the whole environment.
  apptainer) set -- apptainer exec --bind /run/mjf-agent:/run/mjf-agent:ro "$@" ;;
  # For one that is not under "exec" and lives as long as the machine, the machine's own variables.
  service)
    mjf-agent env > mjf.env
    exec podman run --detach --network=host --volume /run/mjf-agent:/run/mjf-agent:ro --env-file mjf.env "$@"
    ;;
  *)
    echo "usage: $0 podman|apptainer|service IMAGE COMMAND…" >&2
    exit 64
    ;;
esac
exec mjf-agent exec --name "$engine" --grace "${GRACE:-2m}" -- "$@"
