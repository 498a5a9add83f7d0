/** What a host attaches as a disk beside the root: udev finds it by its label, the agent reads what it says. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { type OpennebulaHost, startOpennebulaHost } from '../hosts/opennebula.ts';
import { startOpenstackHost, UUID } from '../hosts/openstack.ts';
import { guestCase } from './bed.ts';
import { isoOf } from './iso.ts';

const LATER_MS = 3_600_000;
/** Less than the payload's lead, so that its signal comes with the word. */
const SOON_MS = 110_000;
/** OneGate is asked every 30 s. */
const ONEGATE_SIGNAL_MS = 60_000;
/** What an operator of OpenNebula gives to OneGate. */
const ONEGATE = '169.254.16.9:5030';

const KEY = '/run/mjf-agent/machinefeatures/shutdowntime';
const inSecs = (ms: number): string => String(Math.floor((Date.now() + ms) / 1000));
const until = (file: string): string => `timeout 50 sh -c "until [ -e ${file} ]; do sleep 0.2; done; cat ${file}"`;

let shutdown = '';
guestCase(
  'config drive',
  async (_t, directory) => {
    const documents = path.join(directory, 'documents');
    fs.mkdirSync(documents);
    shutdown = inSecs(LATER_MS);
    const host = await startOpenstackHost();
    host.meta('shutdowntime', shutdown);
    host.writeDrive(documents);
    await host.close();
    return {
      drive: isoOf('config-2', documents),
      smbios: ['type=1,manufacturer=OpenStack Foundation,product=OpenStack Nova'],
    };
  },
  async (guest) => {
    assert.equal((await guest.shell(until(KEY))).trim(), shutdown);
    assert.equal((await guest.shell('cat /run/mjf-agent/jobfeatures/job_id')).trim(), UUID);
  },
);

let onegate: OpennebulaHost | undefined;
guestCase(
  'context ISO and OneGate (OpenNebula)',
  async (t, directory) => {
    const host = await startOpennebulaHost();
    t.after(() => host.close());
    onegate = host;
    const documents = path.join(directory, 'documents');
    host.writeContext(documents, { ONEGATE_ENDPOINT: `http://${ONEGATE}`, HS06: '87.5' });
    return { drive: isoOf('CONTEXT', documents), metadata: { port: host.port, at: ONEGATE } };
  },
  async (guest, figures) => {
    assert.equal((await guest.shell(until('/run/mjf-agent/machinefeatures/hs06'))).trim(), '87.5');
    const changedMs = Date.now();
    const soon = inSecs(SOON_MS);
    onegate?.user('SHUTDOWNTIME', soon);
    figures.signalMs = (await guest.line(/^term$/, ONEGATE_SIGNAL_MS)).atMs - changedMs;
    assert.equal((await guest.shell(until(KEY))).trim(), soon);
    await guest.line(/^saved$/);
  },
);
