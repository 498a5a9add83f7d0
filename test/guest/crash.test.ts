/** In mid-drain the agent is killed, and then replaced by a package: the stopping of payloads goes on as if nothing was. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { guestCase } from './bed.ts';
import { builtPackage } from './image.ts';

/** The first payload's lead of two minutes begins while the package is being unpacked. */
const ANNOUNCED_MS = 150_000;
const SECOND_LEAD_MS = 20_000;
/** The guest's clock is not quite ours, and steps are whole seconds. */
const CLOCK_MS = 2_000;
/** 110 MB on an emulated machine, of which another may take its processors. What counts does not wait for its end. */
const UNPACK_MS = 400_000;
const SECTOR_BYTES = 512;
const SECOND = `trap "echo second-term; exit 0" TERM; echo second-started; while :; do sleep 1000 & wait; done`;
const PID = 'systemctl show -p MainPID --value mjf-agent';

let share = '';
let bytes = 0;
guestCase(
  'killed and upgraded in mid-drain',
  (_t, directory) => {
    share = path.join(directory, 'share');
    fs.mkdirSync(share);
    // A package is no disk: it comes as the bytes of one, whole sectors of them.
    const drive = path.join(directory, 'package');
    fs.copyFileSync(builtPackage() ?? '', drive);
    bytes = fs.statSync(drive).size;
    fs.truncateSync(drive, Math.ceil(bytes / SECTOR_BYTES) * SECTOR_BYTES);
    return { share, drive };
  },
  async (guest) => {
    const exec = `mjf-agent exec --name second --grace ${SECOND_LEAD_MS / 1000}s -- /bin/sh -c '${SECOND}'`;
    await guest.shell(`systemd-run -q --unit=second --uid=daemon -p StandardOutput=file:/dev/ttyS1 ${exec}`);
    await guest.line(/^second-started$/);

    const deadlineSecs = Math.floor((Date.now() + ANNOUNCED_MS) / 1000);
    fs.writeFileSync(path.join(share, 'shutdowntime'), String(deadlineSecs));
    await guest.shell('until grep -q draining /run/mjf-agent/lifetime.json; do sleep 0.2; done');
    const killed = (await guest.shell(PID)).trim();
    await guest.shell(
      `kill -KILL ${killed}; until [ "$(${PID})" != 0 -a "$(${PID})" != ${killed} ]; do sleep 0.2; done`,
    );
    await guest.shell(`head -c ${bytes} /dev/vdb > /root/agent.deb; dpkg -i /root/agent.deb`, UNPACK_MS);

    const term = await guest.line(/^second-term$/, ANNOUNCED_MS);
    assert.ok(term.atMs < deadlineSecs * 1000, 'before the deadline');
    assert.ok(term.atMs > deadlineSecs * 1000 - SECOND_LEAD_MS - CLOCK_MS, 'not before its time');
    const said = guest.lines().map(({ text }) => text);
    assert.deepEqual(
      ['term', 'saved', 'second-term'].map((word) => said.filter((each) => each === word).length),
      [1, 1, 1],
      'each once',
    );
  },
);
