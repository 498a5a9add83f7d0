/**
 * The host's share hangs, comes back, hangs once more and is then unmounted. QEMU's own 9p server serves a directory whose
 * file system swallows requests when it is told to, as a dead NFS server behind it would: in the guest whoever looks into
 * the share is stuck in the kernel, and no SIGKILL ends him.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { type FuseShare, noFuseShare, startFuseShare } from '../hosts/fuse-share.ts';
import { type Guest, guestCase } from './bed.ts';

const LATER_MS = 3_600_000;
/** Of a payload that states none. */
const LEAD_MS = 120_000;
/** From the word to the first signal: the share must have been read and hang again by then, on a busy machine too. */
const AHEAD_MS = 50_000;
/** The guest's clock is not quite ours, and steps are whole seconds. */
const CLOCK_MS = 2_000;
/** Emulated on a busy machine, a signal may be seconds late; one that waits for the share never comes. */
const SIGNAL_MS = 30_000;
/** Half a minute without a good answer, seen by an emulated machine. */
const STALE_MS = 120_000;
/** systemd itself gives up a start after 90 s. */
const RESTART_MS = 85_000;
/**
 * Stuck in one mount (SYSTEMS.md, "Hung shares"), counted over restarts: two of the agent, and two of the `exec`, which looks
 * for itself while there is no agent.
 */
const MOST_READERS = { agent: 2, all: 4 } as const;

const SHARE = '/etc/machinefeatures';
const KEY = '/run/mjf-agent/machinefeatures/shutdowntime';
const LIFETIME = '/run/mjf-agent/lifetime.json';
const READERS = 'cat /proc/[0-9]*/comm 2> /dev/null | grep -c -x mjf-reader || :';
const OWN_READERS =
  'for pid in $(cat /sys/fs/cgroup/system.slice/mjf-agent.service/cgroup.procs); do cat /proc/$pid/comm; done 2> /dev/null | grep -c -x mjf-reader || :';
const NOW = 'cut -d " " -f 1 /proc/uptime';
const TIMES = 'systemctl show -p ExecMainStartTimestampMonotonic --value mjf-agent';
/** What systemd says of a service that does not stop, or not with all of its processes. */
const STOP_TROUBLE =
  'journalctl -q -b -o cat --no-pager _PID=1 | grep -e "^mjf-agent.service: .*timed out" -e "^mjf-agent.service: .*still around" || :';
const SECOND = 'trap "echo second-term; exit 0" TERM; echo second-started; while :; do sleep 1000 & wait; done';
const CONF_D = '/etc/mjf-agent/conf.d';
const SECOND_TOML = '[[payload]]\\nname = "second"\\npidfile = "/run/second.pid"\\nuser = "daemon"\\n';

const inSecs = (ms: number): number => Math.floor((Date.now() + ms) / 1000);
const untilKeyIs = (value: string): string => `until [ "$(cat ${KEY})" = ${value} ]; do sleep 0.2; done`;
const untilSaid = (match: string): string => `until grep -q '${match}' ${LIFETIME}; do sleep 0.2; done`;

let share: FuseShare | undefined;

async function tell(command: string): Promise<string> {
  assert.ok(share);
  return share.tell(command);
}

const noShare = noFuseShare();
if (noShare !== undefined) test('hung share', { skip: noShare }, () => undefined);
else
  guestCase(
    'hung share',
    async (t) => {
      // Not in the case's own directory, which is removed before this share is ended.
      const mountPoint = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-guest-share-'));
      t.after(async () => {
        await share?.end();
        fs.rmdirSync(mountPoint);
      });
      share = await startFuseShare(mountPoint);
      return { share: mountPoint };
    },
    async (guest) => {
      try {
        await hangsAndComesBack(guest);
        const soonSecs = await saysThatItEndsSoon(guest);
        await hangsWhenAStepIsDue(guest, soonSecs);
        await isUnmounted(guest, soonSecs);
      } finally {
        // QEMU's threads are stuck in it as well, and cannot be ended before.
        await tell('answer');
      }
    },
  );

async function hangsAndComesBack(guest: Guest): Promise<void> {
  const later = String(inSecs(LATER_MS));
  await tell('set hs06 87.5');
  await tell(`set shutdowntime ${later}`);
  await guest.shell(untilKeyIs(later));
  // One payload is signalled by its "exec", this one by the agent itself.
  await guest.shell(
    `systemd-run -q --unit=second --uid=daemon -p StandardOutput=file:/dev/ttyS1 /bin/sh -c '${SECOND}'`,
  );
  await guest.line(/^second-started$/);
  await guest.shell(`systemctl show -p MainPID --value second > /run/second.pid
mkdir -p ${CONF_D} && printf '${SECOND_TOML}' > ${CONF_D}/second.toml && systemctl reload mjf-agent
${untilSaid('"payloads":{"running":2')}`);

  await tell('hang');
  const hungMs = Date.now();
  await guest.shell(
    `systemd-run -q --unit=look -p StandardOutput=file:/dev/ttyS1 stat -c 'looked: %s bytes' ${SHARE}/hs06`,
  );
  await guest.shell(untilSaid('"name":"directory","state":"stale"'), STALE_MS);
  const staleMs = Date.now() - hungMs;
  await goesOn(guest, later);

  const restarts = [await restart(guest), await restart(guest)];
  assert.equal(await guest.shell(STOP_TROUBLE), '', 'it did not wait for what is stuck');
  await goesOn(guest, later);
  assert.ok(!guest.lines().some(({ text }) => text.startsWith('looked')), 'all the time the share hung');
  console.log(`hung share: stale after ${secs(staleMs)}; restarted while it hung: ${restarts.join('; ')}`);
}

/** What the host has written while nobody could read it is seen when the share comes back. */
async function saysThatItEndsSoon(guest: Guest): Promise<number> {
  const soonSecs = inSecs(LEAD_MS + AHEAD_MS);
  await tell(`set shutdowntime ${soonSecs}`);
  await tell('answer');
  const backMs = Date.now();
  await guest.shell(untilKeyIs(String(soonSecs)));
  console.log(`hung share: back, and the host's change seen, after ${secs(Date.now() - backMs)}`);
  await guest.line(/^looked: 4 bytes$/);
  return soonSecs;
}

async function hangsWhenAStepIsDue(guest: Guest, soonSecs: number): Promise<void> {
  await tell('hang');
  const hungMs = Date.now();
  const dueMs = soonSecs * 1000 - LEAD_MS;
  const signals = await Promise.all(
    [/^term$/, /^second-term$/].map((match) => guest.line(match, dueMs - hungMs + SIGNAL_MS)),
  );
  assert.notEqual(await tell('held'), 'held 0', 'somebody is stuck');
  for (const { text, atMs } of signals) {
    assert.ok(atMs > hungMs, `${text} came while the share hung`);
    assert.ok(atMs > dueMs - CLOCK_MS, `${text} not before its time`);
  }
  const late = signals.map(({ atMs }) => secs(atMs - dueMs));
  console.log(
    `hung share: the payloads' SIGTERM, ${secs(dueMs - hungMs)} after it hung again, was ${late.join(', ')} late`,
  );
  await guest.line(/^saved$/);
  await goesOn(guest, String(soonSecs));
}

async function isUnmounted(guest: Guest, soonSecs: number): Promise<void> {
  const soon = String(soonSecs);
  await guest.shell(`umount -l ${SHARE}`);
  await guest.shell(untilSaid('"error":"other_channel"'));
  await tell('answer');
  await guest.shell(`until [ "$(${READERS})" = 0 ]; do sleep 0.2; done`);
  await goesOn(guest, soon);
  console.log(`hung share: restarted when it is unmounted: ${await restart(guest)}`);
  await guest.shell(untilSaid('"error":"other_channel"'));
  await goesOn(guest, soon);

  // The share itself may say that all is well again, its absence may not.
  await tell('unset shutdowntime');
  await guest.shell('systemctl start etc-machinefeatures.mount');
  await guest.shell(`while [ -e ${KEY} ]; do sleep 0.2; done; ${untilSaid('"phase":"running"')}`);

  // Whoever reads it once a second keeps nobody from unmounting it for good.
  await guest.shell(`until umount ${SHARE}; do sleep 0.2; done`);
  await guest.shell(untilSaid('"error":"other_channel"'));
  assert.equal((await guest.shell('cat /run/mjf-agent/machinefeatures/hs06')).trim(), '87.5');
  assert.match(await lifetimeOf(guest), /"phase":"running"/);
}

/** By HTTP and by files, with the deadline, and without a heap of stuck children. */
async function goesOn(guest: Guest, shutdown: string): Promise<void> {
  assert.equal((await guest.shell(`cat ${KEY}`)).trim(), shutdown);
  assert.match(await lifetimeOf(guest), new RegExp(`"deadline":${shutdown}`));
  const own = Number(await guest.shell(OWN_READERS));
  assert.ok(own <= MOST_READERS.agent, `${own} readers of the agent`);
  const all = Number(await guest.shell(READERS));
  assert.ok(all <= MOST_READERS.all, `${all} readers`);
}

/** The image has no program that speaks HTTP. */
const lifetimeOf = (guest: Guest): Promise<string> =>
  guest.shell(`bash -c 'exec 3<> /dev/tcp/127.0.0.1/8653
printf "GET /v1/lifetime HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n" >&3; cat <&3'`);

/** What it took: to stop, and from the start to READY. */
async function restart(guest: Guest): Promise<string> {
  const asked = await guest.shell(`${NOW}; systemctl restart mjf-agent && ${NOW} && ${TIMES}`, RESTART_MS);
  const [before = NaN, after = NaN, startedUs = NaN] = asked.trim().split('\n').map(Number);
  return `stopped in ${secs(startedUs / 1000 - before * 1000)}, READY in ${secs(after * 1000 - startedUs / 1000)}`;
}

const secs = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
