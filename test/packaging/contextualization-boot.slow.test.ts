/** packaging/contextualization on a Debian that has booted: nothing but the snippet and the built package. */
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import { type Bed, prepareBed, startBed, until } from '../systemd/bed.ts';
import { must } from '../systemd/packaged.ts';

const run = promisify(execFile);
const ROOT = path.resolve(import.meta.dirname ?? __dirname, '../..');
const SNIPPETS = path.join(ROOT, 'packaging/contextualization');
/** It holds Node: packing and unpacking it. */
const PACKING_MS = 120_000;
const SITE = '/etc/mjf-agent/conf.d/50-site.toml';

const root = prepareBed();
const skip =
  'reason' in root
    ? root.reason
    : !fs.existsSync(path.join(ROOT, 'dist/mjf-agent'))
      ? 'needs "npm run build:standalone"'
      : spawnSync('dpkg-deb', ['--version']).error
        ? 'needs dpkg-deb'
        : false;
const text = (name: string): string => fs.readFileSync(path.join(SNIPPETS, name), 'utf8');

describe('contextualization: a first boot', { skip }, () => {
  it('cloud-init: configuration, then the package; all of it runs, with that configuration', async (t) => {
    const bed = await machine(t);
    const config = text('cloud-init/user-data.yaml');
    // What cloud-init does with the two modules that are used.
    await must(bed, ['mkdir', '-p', path.dirname(SITE)]);
    const [, content = ''] = /content: \|\n((?: {6}.*\n)+)/.exec(config) ?? [];
    bed.write(SITE, `${content.replace(/^ {6}/gm, '')}[source.static]\nmachinefeatures = { hs06 = "1.5" }\n`);
    const script = config.slice(config.indexOf('    - |\n') + '    - |\n'.length).replace(/^ {6}/gm, '');
    await install(bed, '-euc', script);

    await running(bed);
    assert.equal(bed.read('/run/mjf-agent/machinefeatures/hs06'), '1.5\n');
    await must(bed, ['mjf-agent', 'check']);
    const started = await bed.property('mjf-agent.service', 'InvocationID');
    // OpenNebula and GCE run it again at each boot.
    bed.write('/root/first-boot.sh', text('first-boot.sh'));
    await must(bed, ['sh', '/root/first-boot.sh']);
    assert.equal(await bed.property('mjf-agent.service', 'InvocationID'), started);
  });

  it("Vac: what the manager has filled in reaches the payloads, and its proxy the agent's user alone", async (t) => {
    const bed = await machine(t);
    const words: Readonly<Record<string, string>> = {
      // Nobody's: nothing answers there.
      machinefeatures_url: 'http://127.0.0.1:9/machinefeatures',
      jobfeatures_url: 'http://127.0.0.1:9/jobfeatures',
      joboutputs_url: 'https://127.0.0.1:9/joboutputs',
      vmtype: 'worker',
      vm_hostname: 'vm-17',
      option_x509_proxy: 'a certificate and its key',
    };
    bed.write(
      '/root/user_data',
      text('vac/user_data').replace(/##user_data_([a-z0-9_]+)##/g, (_, name) => words[name] ?? ''),
    );
    await install(bed, '/root/user_data');

    await running(bed);
    assert.equal(bed.read('/run/mjf-agent/machinefeatures/machinetype'), 'worker\n');
    const owner = await must(bed, ['stat', '-c', '%U %a', '/etc/mjf-agent/proxy.pem']);
    assert.equal(owner.trim(), 'mjf-agent 400');
  });
});

/** Booted, with the package where the snippet's server would be. */
async function machine(t: Parameters<typeof startBed>[0]): Promise<Bed> {
  if ('reason' in root) throw new Error(root.reason);
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-context-'));
  t.after(() => fs.rmSync(directory, { recursive: true }));
  execFileSync(process.execPath, [path.join(ROOT, 'packaging/deb/build.mjs'), directory, 'standalone'], {
    env: { ...process.env, MJF_PACKAGE_SOON: '1' },
    stdio: 'ignore',
    timeout: PACKING_MS,
  });
  const [name = ''] = fs.readdirSync(directory);
  const bed = await startBed(t, root);
  fs.copyFileSync(path.join(directory, name), bed.path('/root/package.deb'));
  // -fsSL -o FILE URL
  bed.write('/usr/local/bin/curl', '#!/bin/sh\nexec cp /root/package.deb "$3"\n');
  await must(bed, ['chmod', '+x', '/usr/local/bin/curl']);
  return bed;
}

/** What installs takes longer than other commands, where all processors are busy. */
async function install({ within: [command = '', ...within] }: Bed, ...script: readonly string[]): Promise<void> {
  await run(command, [...within, 'sh', ...script], { timeout: PACKING_MS });
}

async function running(bed: Bed): Promise<void> {
  for (const unit of ['mjf-agent.service', 'mjf-agent.socket', 'mjf-agent-hand.socket', 'mjf-agent-guard.service']) {
    // The package waits for the service, not for the guard.
    await until(`${unit} is active`, async () => (await bed.property(unit, 'ActiveState')) === 'active');
    assert.equal((await must(bed, ['systemctl', 'is-enabled', unit])).trim(), 'enabled', unit);
  }
}
