#!/bin/sh
# Writes what mjf-agent measures into a file for the textfile collector of node_exporter, whole or not at all:
# mjf-agent-textfile.sh /var/lib/prometheus/node-exporter/mjf-agent.prom [SOCKET]
set -eu
out=${1:?"usage: $0 FILE.prom [SOCKET]"}
socket=${2:-/run/mjf-agent/agent.sock}
umask 022
# The collector reads only what ends in .prom.
new=$out.$$
trap 'rm -f "$new" "$new.all"' EXIT
if curl -fsS --max-time 5 --unix-socket "$socket" http://localhost/metrics >"$new.all"; then
    # node_exporter has process_* of its own: it leaves out ours, and complains at each scrape.
    sed '/^\(# [A-Z]* \)\{0,1\}process_/d' "$new.all" >"$new"
else
    # Rather than old figures that look alive.
    printf '%s\n' '# HELP mjf_ready The agent did not answer.' '# TYPE mjf_ready gauge' 'mjf_ready 0' >"$new"
fi
mv -f "$new" "$out"
