/**
 * A machine to which its host says nothing: the agent is idle and quiet. Then the host presses the power button: systemd
 * stops the guard first of all, and the guard waits for the payload's checkpoint.
 */
import assert from 'node:assert/strict';
import { guestCase } from './bed.ts';

/** It is started last of all. */
const GUARD_MS = 120_000;
const IDLE_SECS = 5;
const JOURNAL = 'journalctl -q -u mjf-agent -o cat --no-pager';
const CPU_USED = 'systemctl show -p CPUUsageNSec --value mjf-agent';
/** The payload's two seconds, and systemd's own way down on an emulated machine. */
const OFF_MS = 90_000;

guestCase(
  'no channel, then the power button',
  () => ({}),
  async (guest, figures) => {
    await guest.shell('until systemctl -q is-active mjf-agent-guard; do sleep 0.5; done', GUARD_MS);
    // The machine is up without it: only who asks for it, as the payload here does, waits until it is ready.
    const waitedFor = await guest.shell(
      'systemctl show -p After --value multi-user.target basic.target sockets.target',
    );
    assert.doesNotMatch(waitedFor, /mjf-agent[^ ]*\.service/, 'no target of the boot waits for the agent');
    const complaints = async (): Promise<readonly string[]> =>
      (await guest.shell(JOURNAL)).split('\n').filter((line) => /"level":"(warn|error|fatal)"/.test(line));
    // On a slow machine the bus may be late for its first question.
    const atBoot = await complaints();
    console.log(`no channel: ${atBoot.length} complaints while it boots ${atBoot.join(' ')}`);
    const used = await guest.shell(`${CPU_USED}; sleep ${IDLE_SECS}; ${CPU_USED}`);
    const [before = NaN, after = NaN] = used.trim().split('\n').map(Number);
    const share = (after - before) / 1e9 / IDLE_SECS;
    // Printed, not judged: an emulated processor is a twentieth of a real one, or less where the machine is busy.
    console.log(`no channel: the idle agent uses ${(share * 100).toFixed(1)} % of one emulated processor`);
    assert.deepEqual(await complaints(), atBoot, 'idle it has nothing to complain of');

    const pressedMs = Date.now();
    await guest.monitor.execute('system_powerdown');
    const term = await guest.line(/^term$/);
    figures.signalMs = term.atMs - pressedMs;
    // It says so two seconds after its signal: it had the time that it needs.
    await guest.line(/^saved$/);
    assert.ok(await guest.hasEnded(OFF_MS), 'the machine is off');
  },
);
