#!/bin/sh
# A payload that knows how long it has:   mjf-agent exec --grace 2m -- ./payload.sh
total=${EVENTS:-100} need=${EVENT_SECS:-1} lead=${LEAD_SECS:-120} # lead: what --grace says; then comes SIGTERM
air=5 done=0 # air: seconds in hand, an event may take a little longer
[ ! -r checkpoint ] || read -r done < checkpoint
checkpoint() { echo "$done" > checkpoint.new && mv checkpoint.new checkpoint; }
say() { [ -z "$MJF_PAYLOAD_URL" ] || curl -fsS -m 5 -X PATCH -H 'content-type: application/json' -d "$1" "$MJF_PAYLOAD_URL" > /dev/null; }
left() { # seconds to the deadline; no file: none is foreseen
  if end=$(cat "$JOBFEATURES/shutdowntime_job" 2> /dev/null); then echo $((end - $(date +%s))); else echo 999999999; fi
}
trap 'checkpoint; echo "SIGTERM: stopped after $done events"; exit 0' TERM # in order; "exec" makes 75 of it: requeue me
while [ "$done" -lt "$total" ]; do
  if [ "$(left)" -le $((need + lead + air)) ]; then # another event would not be ready in time
    checkpoint
    mjf-agent finish 100 "stopped before the deadline, after $done of $total events"
    exit 75 # requeue me
  fi
  say "{\"can_terminate\":false,\"needs_secs\":$(((total - done) * need)),\"progress\":$((done * 100 / total))e-2}"
  sleep "$need" & wait $! # the event; wait, and not sleep alone, so that SIGTERM is heard at once
  done=$((done + 1))
done
checkpoint
say '{"can_terminate":true,"needs_secs":0,"progress":1}'
mjf-agent finish 200 "$done events" # the last word; without it the exit code says the same
