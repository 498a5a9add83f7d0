#!/usr/bin/env python3
"""A payload that knows how long it has:   mjf-agent exec --grace 2m -- ./payload.py"""
import json, os, signal, subprocess, sys, time, urllib.request

total, need = int(os.environ.get("EVENTS", 100)), float(os.environ.get("EVENT_SECS", 1))
air = 5  # seconds in hand: an event may take a little longer
url = os.environ.get("MJF_PAYLOAD_URL")  # this payload's row with the agent; not set where no agent runs
done = json.load(open("checkpoint")) if os.path.exists("checkpoint") else 0

def ask(method="GET", **said):
    body = json.dumps(said).encode() if said else None
    request = urllib.request.Request(url, body, {"content-type": "application/json"}, method=method)
    return json.load(urllib.request.urlopen(request, timeout=5))

def checkpoint():
    with open("checkpoint.new", "w") as file:
        json.dump(done, file)
    os.rename("checkpoint.new", "checkpoint")

def stop(*_):
    checkpoint()
    print("SIGTERM: stopped after", done, "events", flush=True)
    sys.exit(0)  # in order; "exec" makes 75 of it: requeue me

signal.signal(signal.SIGTERM, stop)
while done < total:
    stop_at = ask()["stop_at"] if url else None  # when SIGTERM comes, UNIX seconds; None: no deadline is foreseen
    if stop_at is not None and time.time() + need + air > stop_at:  # another event would not be ready in time
        checkpoint()
        subprocess.run(["mjf-agent", "finish", "100", f"stopped before the deadline, after {done} of {total} events"])
        sys.exit(75)  # requeue me
    if url:
        ask("PATCH", can_terminate=False, needs_secs=(total - done) * need, progress=done / total)
    time.sleep(need)  # the event
    done += 1
checkpoint()
if url:
    ask("PATCH", can_terminate=True, needs_secs=0, progress=1)
    subprocess.run(["mjf-agent", "finish", "200", f"{done} events"])
