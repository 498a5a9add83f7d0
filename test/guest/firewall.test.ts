/** An image that lets only root reach the metadata service, and each of the two ways that are shipped for the agent to get there. */
import assert from 'node:assert/strict';
import { type Ec2Host, startEc2Host } from '../hosts/ec2.ts';
import { guestCase } from './bed.ts';

/** Not more than the payload's lead, so that its signal comes with the word. */
const NOTICE_MS = 120_000;
/** A channel that was dead since the boot is asked more seldom. */
const SIGNAL_MS = 100_000;
const SILENT_SECS = 6;
/** The agent as root is another start of it, on an emulated machine. */
const REMEDY_MS = 180_000;

const DROP_IN = '/etc/systemd/system/mjf-agent.service.d';

for (const [name, remedy] of [
  // As it stands in /usr/share/doc/mjf-agent*/firewall.
  ['the shipped exception', 'nft insert rule inet site output ip daddr 169.254.169.254 meta skuid mjf-agent accept'],
  [
    'the agent as root',
    `mkdir -p ${DROP_IN}; cp /usr/share/doc/mjf-agent*/drop-ins/run-as-root.conf ${DROP_IN}/; systemctl daemon-reload; systemctl restart mjf-agent`,
  ],
] as const) {
  let service: Ec2Host | undefined;
  guestCase(
    `metadata firewalled, then ${name}`,
    async (t) => {
      const host = await startEc2Host({ tokens: 'required', lifeCycle: 'spot' });
      t.after(() => host.close());
      service = host;
      return {
        smbios: ['type=1,manufacturer=Amazon EC2,product=m5.large'],
        metadata: { port: host.port },
        firewalled: true,
      };
    },
    async (guest, figures) => {
      assert.ok(service);
      await guest.shell('nft list table inet site');
      service.spot('terminate', Date.now() + NOTICE_MS);
      await guest.shell(`sleep ${SILENT_SECS}`);
      assert.deepEqual([service.requests.length, guest.lines().some(({ text }) => text === 'term')], [0, false]);

      const openedMs = Date.now();
      await guest.shell(remedy, REMEDY_MS);
      figures.signalMs = (await guest.line(/^term$/, SIGNAL_MS)).atMs - openedMs;
      await guest.line(/^saved$/);
    },
  );
}
