#!/usr/bin/env python3
"""A pilot that asks before it fetches new work, and drains with its machine:   mjf-agent exec --grace 5m -- ./pilot.py

Its work is a line of the file "queue", a command for the shell; yours asks its server in fetch() and give_back()."""
import json, os, signal, subprocess, sys, time

NEED_SECS = float(os.environ.get("NEED_SECS", 3600))  # what a piece of work takes at the longest
LIFETIME = os.environ.get("MJF_AGENT_RUNTIME_DIR", "/run/mjf-agent") + "/lifetime.json"
asked_to_stop = False

def fetch():
    with open("queue") as file:
        first, *rest = file.read().splitlines() or [None]
    with open("queue", "w") as file:
        file.writelines(line + "\n" for line in rest)
    return first

def give_back(work):
    with open("queue", "a") as file:
        file.write(work + "\n")

def why_not_more():
    try:
        with open(LIFETIME) as file:
            machine = json.load(file)
    except FileNotFoundError:
        return None  # a machine without an agent
    if machine["phase"] != "running":
        return machine["phase"]
    stop_at = machine["stop_at"]
    return "too late for another one" if stop_at and time.time() + NEED_SECS > stop_at else None

def finish(code, text):
    subprocess.run(["mjf-agent", "finish", str(code), text])

def stop(*_):
    global asked_to_stop
    asked_to_stop = True
    if work is not None:
        work.terminate()  # it has a checkpoint to write; it has the rest of --grace for that

work = None
signal.signal(signal.SIGTERM, stop)
while not asked_to_stop:
    reason = why_not_more()
    if reason:
        finish(100, f"no new work: {reason}")
        break
    line = fetch()
    if line is None:
        finish(300, "no more work")  # the site starts fewer machines for a while
        break
    print("work:", line, flush=True)
    work = subprocess.Popen(line, shell=True)
    code = work.wait()
    if asked_to_stop:
        give_back(line)
    elif code != 0:
        finish(600, f"work failed with {code}")
        sys.exit(1)
    work = None
