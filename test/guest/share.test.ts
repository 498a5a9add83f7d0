/** A directory of the host, shared by 9p and edited there while a payload runs: no word of it comes by notification. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { guestCase } from './bed.ts';

/** Less than the payload's lead, so that its signal comes with the word. */
const ANNOUNCED_MS = 60_000;
let share = '';

guestCase(
  '9p share',
  (_t, directory) => {
    share = path.join(directory, 'share');
    fs.mkdirSync(share);
    fs.writeFileSync(path.join(share, 'hs06'), '87.5\n');
    return { share };
  },
  async (guest, figures) => {
    const published = 'cat /run/mjf-agent/machinefeatures';
    await guest.shell('until [ -e /run/mjf-agent/machinefeatures/hs06 ]; do sleep 0.2; done');
    assert.equal((await guest.shell(`${published}/hs06`)).trim(), '87.5');

    fs.writeFileSync(path.join(share, 'hs06'), '93\n');
    await guest.shell(`until [ "$(${published}/hs06)" = 93 ]; do sleep 0.2; done`);

    const changedMs = Date.now();
    const shutdown = String(Math.floor((changedMs + ANNOUNCED_MS) / 1000));
    fs.writeFileSync(path.join(share, '.new'), shutdown);
    fs.renameSync(path.join(share, '.new'), path.join(share, 'shutdowntime'));
    figures.signalMs = (await guest.line(/^term$/)).atMs - changedMs;
    await guest.line(/^saved$/);
    assert.equal((await guest.shell(`${published}/shutdowntime`)).trim(), shutdown);
    assert.equal((await guest.shell('cat /var/lib/job/checkpoint')).trim(), 'saved');
    await guest.shell('while systemctl -q is-active job; do sleep 0.2; done');
    const code = await guest.shell('systemctl show -p ExecMainStatus --value job');
    assert.equal(code.trim(), '75', 'whoever has started it is told to run it once more');
  },
);
