/** The same image, without a word of configuration, on four platforms: the firmware says which, the service says the rest. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { startAzureHost } from '../hosts/azure.ts';
import { startEc2Host } from '../hosts/ec2.ts';
import { startGceHost } from '../hosts/gce.ts';
import type { MetadataHost } from '../hosts/metadata-host.ts';
import { startOpenstackHost } from '../hosts/openstack.ts';
import { guestCase } from './bed.ts';

/** What EC2 gives a spot instance; not more than the payload's lead, so that its signal comes with the word. */
const NOTICE_MS = 120_000;
/** What Azure gives one. */
const SPOT_MS = 30_000;
/** OpenStack's is asked once a minute. */
const OPENSTACK_SIGNAL_MS = 100_000;

interface Platform<Host extends MetadataHost> {
  readonly name: string;
  readonly smbios: readonly string[];
  readonly host: () => Promise<Host>;
  /** Announces an end; the source whose notice it becomes. */
  readonly announce: (host: Host) => void;
  readonly source: string;
  readonly signalMs: number;
}

function platform<Host extends MetadataHost>({ name, smbios, host, announce, source, signalMs }: Platform<Host>): void {
  let service: Host | undefined;
  guestCase(
    `metadata as ${name}`,
    async (t: TestContext) => {
      const started = await host();
      t.after(() => started.close());
      service = started;
      return { smbios, metadata: { port: started.port } };
    },
    async (guest, figures) => {
      assert.ok(service);
      const lifetime = await guest.shell('cat /run/mjf-agent/lifetime.json');
      assert.equal((JSON.parse(lifetime) as { phase: string }).phase, 'running');
      const changedMs = Date.now();
      announce(service);
      figures.signalMs = (await guest.line(/^term$/, signalMs)).atMs - changedMs;
      await guest.line(/^saved$/);
      assert.match(await guest.shell('cat /run/mjf-agent/lifetime.json'), new RegExp(`"${source}`));
      assert.match(await guest.shell('cat /run/mjf-agent/machinefeatures/shutdowntime'), /^\d+$/m);
    },
  );
}

platform({
  name: 'EC2',
  smbios: ['type=1,manufacturer=Amazon EC2,product=m5.large'],
  host: () => startEc2Host({ tokens: 'required', lifeCycle: 'spot' }),
  announce: (host) => host.spot('terminate', Date.now() + NOTICE_MS),
  source: 'ec2',
  signalMs: 30_000,
});

platform({
  name: 'GCE',
  smbios: ['type=1,manufacturer=Google,product=Google Compute Engine'],
  host: () => startGceHost(),
  announce: (host) => host.preempt(),
  source: 'gce',
  signalMs: 30_000,
});

platform({
  name: 'Azure',
  smbios: ['type=3,asset=7783-7084-3265-9085-8269-3286-77', 'type=1,manufacturer=Microsoft Corporation'],
  host: () => startAzureHost(),
  announce: (host) => host.schedule({ type: 'Preempt', notBeforeMs: Date.now() + SPOT_MS }),
  source: 'azure',
  signalMs: SPOT_MS,
});

platform({
  name: 'OpenStack',
  smbios: ['type=1,manufacturer=OpenStack Foundation,product=OpenStack Nova'],
  host: () => startOpenstackHost(),
  announce: (host) => host.meta('shutdowntime', String(Math.floor((Date.now() + NOTICE_MS) / 1000))),
  source: 'openstack',
  signalMs: OPENSTACK_SIGNAL_MS,
});
