/** packaging/contextualization: each snippet by the tool that reads it, and by the agent whose names it uses. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import { siteKeys } from '../../agent/sources/site-keys.ts';
import { runProgram } from '../support/program.ts';

const ROOT = path.resolve(import.meta.dirname ?? __dirname, '../..');
const SNIPPETS = path.join(ROOT, 'packaging/contextualization');
/** Python starts slowly beside everything else that runs. */
const TOOL_MS = 120_000;

const SCRIPTS = ['first-boot.sh', 'vac/user_data', 'host/qemu.sh', 'host/drain.sh'];
const CLOUD_CONFIGS = ['cloud-init/user-data.yaml', 'azure/custom-data.yaml'];
const DOMAINS = ['host/libvirt-9p.xml', 'host/libvirt-virtiofs.xml'];

const text = (name: string): string => fs.readFileSync(path.join(SNIPPETS, name), 'utf8');
const lacks = (...tools: readonly string[]): string | false => {
  const missing = tools.find((tool) => spawnSync(tool, ['--version'], { timeout: TOOL_MS }).error);
  return missing === undefined ? false : `needs ${missing}`;
};

function succeeds(command: string, args: readonly string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}) {
  const ran = spawnSync(command, args, { encoding: 'utf8', timeout: TOOL_MS, ...options });
  assert.equal(ran.status, 0, `${command} ${args.join(' ')}\n${ran.error ?? ''}${ran.stdout}${ran.stderr}`);
  return ran.stdout;
}

describe('contextualization: scripts', () => {
  for (const script of SCRIPTS) {
    it(`${script} is one for bash and for any sh`, () => {
      for (const shell of ['bash', 'sh']) succeeds(shell, ['-n', path.join(SNIPPETS, script)]);
    });
    it(`${script} has nothing that shellcheck finds fault with`, { skip: lacks('shellcheck') }, () => {
      succeeds('shellcheck', ['-s', 'sh', path.join(SNIPPETS, script)]);
    });
  }

  it('cloud-config has the very script of first-boot.sh, and Vac its installation', () => {
    const script = text('first-boot.sh');
    const site = script.slice(script.indexOf('# Where the site'));
    const indented = site.replace(/^(?=.)/gm, '      ');
    for (const name of CLOUD_CONFIGS) assert.ok(text(name).endsWith(`    - |\n${indented}`), name);
    assert.ok(text('vac/user_data').includes(script.slice(script.indexOf('get() {'))));
  });
});

describe('contextualization: the first boot', () => {
  for (const [family, command, file] of [
    ['deb', 'apt-get', 'mjf-agent-standalone.deb'],
    ['rpm', 'rpm', 'mjf-agent-standalone.rpm'],
  ] as const) {
    it(`fetches and installs the ${family}, after a network that comes late`, (t) => {
      const bed = pretend(t, family);
      fs.writeFileSync(path.join(bed.directory, 'late'), '');
      bed.run(text('first-boot.sh'));
      const calls = bed.calls();
      const fetched = calls.filter((call) => call.startsWith('curl '));
      assert.equal(fetched.length, 2);
      for (const call of fetched) assert.ok(call.endsWith(` https://repo.example.org/mjf-agent/${file}`), call);
      const installed = calls.filter((call) => call.startsWith(`${command} `));
      assert.equal(installed.length, 1);
      assert.ok(installed[0]?.endsWith(`/${file}`));
      assert.deepEqual(fs.readdirSync(bed.temporary), []);
    });
  }

  it('installs nothing with another sum than the pinned one', (t) => {
    const bed = pretend(t, 'deb');
    const pinned = text('first-boot.sh').replace(/^sha256=$/m, `sha256=${'0'.repeat(64)}`);
    assert.throws(() => bed.run(pinned));
    assert.ok(!bed.calls().some((call) => call.startsWith('apt-get ')));
  });

  it('leaves a machine alone that has the agent', (t) => {
    const bed = pretend(t, 'deb');
    fs.writeFileSync(path.join(bed.directory, 'mjf-agent'), '', { mode: 0o755 });
    bed.run(text('first-boot.sh'));
    assert.deepEqual(bed.calls(), []);
  });
});

describe('contextualization: cloud-config', () => {
  for (const name of CLOUD_CONFIGS) {
    it(`${name} is valid cloud-config`, { skip: lacks('cloud-init') }, () => {
      const said = succeeds('cloud-init', ['schema', '--config-file', path.join(SNIPPETS, name)]);
      assert.match(said, /valid/i);
    });
    it(`${name} configures the agent rightly`, async (t) => {
      const [, content] = /50-site\.toml\n(?: {4}.*\n)*? {4}content: \|\n((?: {6}.*\n|\n)+)/.exec(text(name)) ?? [];
      assert.ok(content !== undefined);
      await accepted(t, content.replace(/^ {6}/gm, ''));
    });
  }
});

describe('contextualization: Vac and Vcycle', () => {
  const TODAY = {
    machinefeatures_url: 'https://vcycle.example:443/machines/space/vm-17/machinefeatures',
    jobfeatures_url: 'https://vcycle.example:443/machines/space/vm-17/jobfeatures',
    joboutputs_url: 'https://vcycle.example:443/machines/space/vm-17/joboutputs',
    space: 'space.example',
    machinetype: 'worker',
    machine_hostname: 'vm-17.example',
    manager_hostname: 'vcycle.example',
    manager_version: 'Vcycle 3.2.0',
    option_mjf_agent_packages: 'https://site.example/packages',
    option_mjf_agent_ca: 'an authority\nof several lines',
    option_x509_proxy: 'a certificate\nand its key',
  };
  const BEFORE = {
    machinefeatures_url: 'http://169.254.169.253/machinefeatures',
    jobfeatures_url: 'http://169.254.169.253/jobfeatures',
    joboutputs_url: 'http://169.254.169.253/joboutputs',
    space: 'vac01.example',
    vmtype: 'worker',
    vm_hostname: 'vm-17.example',
    vmlm_hostname: 'factory.example',
    vmlm_version: 'Vac 0.20',
    option_mjf_agent_packages: 'https://site.example/packages',
    file_mjf_agent_ca: 'an authority\nof several lines',
  };
  /** As the managers do it; what is left over is emptied, by old ones not. */
  const filledIn = (words: Readonly<Record<string, string>>, leftOver: 'emptied' | 'left'): string =>
    text('vac/user_data').replace(/##user_data_([a-z0-9_]+)##/g, (all, name) =>
      name in words ? (words[name] ?? '') : leftOver === 'emptied' ? '' : all,
    );

  for (const [name, words, leftOver] of [
    ['the spelling of today', TODAY, 'emptied'],
    ['the spelling of older managers', BEFORE, 'emptied'],
    ['a manager that leaves what it does not know', BEFORE, 'left'],
  ] as const) {
    it(`${name}: the agent accepts what comes of it`, { skip: lacks('install') }, async (t) => {
      const bed = pretend(t, 'rpm');
      const hasProxy = 'option_x509_proxy' in words;
      const script = filledIn(words, leftOver);
      bed.run(script);
      const calls = bed.calls();
      assert.ok(calls.includes('hostname vm-17.example'), calls.join('\n'));
      assert.ok(calls.some((call) => call.endsWith(' https://site.example/packages/mjf-agent-standalone.rpm')));
      assert.equal(calls.at(-1), 'systemctl restart mjf-agent.service');
      const configuration = fs.readFileSync(path.join(bed.etc, 'conf.d/50-vac.toml'), 'utf8');
      assert.ok(!configuration.includes('##'));
      assert.match(configuration, /^machinetype = "worker"$/m);
      assert.ok(configuration.includes(`[source.mjf]\nmachinefeatures = "${words.machinefeatures_url}"\n`));
      assert.ok(configuration.includes(`[report.joboutputs]\nurl = "${words.joboutputs_url}"\n`));
      assert.equal(fs.readFileSync(path.join(bed.etc, 'site-ca.pem'), 'utf8'), 'an authority\nof several lines\n');
      assert.equal(/^cert = /m.test(configuration), hasProxy);
      const proxy = path.join(bed.etc, 'proxy.pem');
      assert.equal(fs.existsSync(proxy), hasProxy);
      if (hasProxy) assert.equal(fs.statSync(proxy).mode & 0o777, 0o400);
      await accepted(t, configuration);
    });
  }

  it('with nothing filled in at all it is still a good configuration', async (t) => {
    const bed = pretend(t, 'deb');
    bed.run(filledIn({}, 'emptied'));
    await accepted(t, fs.readFileSync(path.join(bed.etc, 'conf.d/50-vac.toml'), 'utf8'));
  });
});

describe('contextualization: Ansible', () => {
  it('playbook and role have a good syntax', { skip: lacks('ansible-playbook') }, (t) => {
    succeeds('ansible-playbook', ['--syntax-check', '-i', 'localhost,', 'playbook.yml'], {
      cwd: path.join(SNIPPETS, 'ansible'),
      // It insists on one of UTF-8, and leaves things in the home directory.
      env: { ...process.env, LC_ALL: 'C.UTF-8', HOME: temporary(t), ANSIBLE_NOCOLOR: '1' },
    });
  });
  it('the agent accepts the configuration of the role', async (t) => {
    const [, content = ''] =
      /^mjf_agent_config: \|\n((?: {2}.*\n)+)/m.exec(text('ansible/roles/mjf_agent/defaults/main.yml')) ?? [];
    assert.notEqual(content, '');
    await accepted(t, content.replace(/^ {2}/gm, ''));
  });
});

describe('contextualization: host', () => {
  for (const name of DOMAINS) {
    it(`${name} is what libvirt understands`, { skip: lacks('xmllint', 'virt-xml-validate') }, () => {
      succeeds('xmllint', ['--noout', path.join(SNIPPETS, name)]);
      succeeds('virt-xml-validate', [path.join(SNIPPETS, name), 'domain']);
    });
  }

  it('every key in the firmware is one that the unit takes over, and short enough for its place', () => {
    const unit = fs.readFileSync(path.join(ROOT, 'packaging/systemd/mjf-agent.service'), 'utf8');
    const taken = new Set([...unit.matchAll(/^LoadCredential=(mjf\.\S+)$/gm)].map(([, name]) => name));
    // QEMU's own bound on names of fw_cfg.
    const longest = 55;
    for (const name of ['host/qemu.sh', 'host/libvirt-9p.xml']) {
      const inFwCfg = [...text(name).matchAll(/name='?(opt\/io\.systemd\.credentials\/([a-z_.]+))/g)];
      for (const [, full = '', key] of inFwCfg) {
        assert.ok(taken.has(key), key);
        assert.ok(full.length <= longest, full);
      }
      const inSmbios = [...text(name).matchAll(/io\.systemd\.credential:([a-z_.]+)=/g)];
      for (const [, key] of inSmbios) assert.ok(taken.has(key), key);
      assert.ok(inFwCfg.length > 0 && inSmbios.length > 0);
    }
  });

  it('shares have the tags that the guest mounts, where the agent looks', () => {
    const mounts = text('host/guest.fstab')
      .split('\n')
      .filter((line) => /^[^#]/.test(line))
      .map((line) => line.split(/\s+/));
    const at = new Map(mounts.map(([tag = '', place = '']) => [tag, place]));
    assert.deepEqual(
      [...at],
      [
        ['mjf-host', '/run/mjf-host'],
        ['mjf-jobstatus', '/run/mjf-host/jobstatus'],
      ],
    );
    for (const name of DOMAINS) {
      const tags = [...text(name).matchAll(/<target dir='(mjf-[^']+)'/g)].map(([, tag]) => tag);
      assert.deepEqual(tags, [...at.keys()], name);
    }
    const tags = [...text('host/qemu.sh').matchAll(/(?:mount_tag|,tag)=([a-z-]+)/g)].map(([, tag = '']) => tag);
    for (const tag of tags) assert.ok(at.has(tag), tag);
    for (const fields of mounts) assert.ok(fields.length === 6 && fields[3]?.includes('nofail'), fields.join(' '));
  });

  it('fstab is good in the eyes of util-linux', { skip: lacks('findmnt') }, () => {
    const { stdout, stderr } = spawnSync(
      'findmnt',
      ['--verify', '--tab-file', path.join(SNIPPETS, 'host/guest.fstab')],
      {
        encoding: 'utf8',
        timeout: TOOL_MS,
      },
    );
    // That the host's share and its place are not there is said too; only what cannot be parsed is our fault.
    assert.match(`${stdout}${stderr}`, /\b0 parse errors\b/);
  });

  for (const channel of ['9p', 'virtiofs', 'fw_cfg']) {
    it(`qemu.sh ${channel} passes on what it was given, and adds to it`, (t) => {
      const bed = pretend(t, 'deb');
      succeeds('sh', [path.join(SNIPPETS, 'host/qemu.sh'), channel, '-nographic', '-name', 'vm 17'], { env: bed.env });
      const [call = ''] = bed.calls();
      assert.match(call, /^qemu-system-x86_64 -nographic -name vm 17 -(?:fsdev|m|fw_cfg) /);
    });
  }

  it('QEMU starts with them', { skip: lacks('qemu-system-x86_64') }, (t) => {
    const shared = temporary(t);
    fs.mkdirSync(path.join(shared, 'jobstatus'));
    // Stopped before its first instruction, it is told to quit.
    const rest = [
      '-nodefaults',
      '-display',
      'none',
      '-S',
      '-monitor',
      'stdio',
      '-machine',
      'q35,accel=tcg',
      '-m',
      '64',
    ];
    for (const channel of ['9p', 'fw_cfg']) {
      const { status, stderr } = spawnSync('sh', [path.join(SNIPPETS, 'host/qemu.sh'), channel, ...rest], {
        encoding: 'utf8',
        input: 'quit\n',
        timeout: TOOL_MS,
        env: { ...process.env, DIR: shared },
      });
      assert.equal(status, 0, stderr);
    }
  });

  it('the OpenNebula template gives keys that the agent takes, and holds its script', () => {
    const template = text('opennebula/template.one');
    const given = [...template.matchAll(/^([A-Z_0-9]+) *= *"([^"]*)"$/gm)].map(
      ([, name = '', value = '']) => [name, value] as const,
    );
    const { machine, job } = siteKeys(given);
    assert.deepEqual(Object.keys(machine).sort(), ['grace_secs', 'hs06', 'mjf_rack', 'termination_allowed']);
    assert.deepEqual(Object.keys(job), ['termination_allowed']);
    const [, context = ''] = /^CONTEXT = \[([^\]]*)\]/m.exec(template) ?? [];
    assert.match(context, /^\s*TOKEN\s*= "YES",$/m);
    assert.match(context, /^\s*START_SCRIPT_BASE64\s*= "@SCRIPT@"\s*$/m);
    // Vectors and lines, and nothing else that its parser would stumble over.
    const rest = template.replace(/^#.*$/gm, '').replace(/^[A-Z]+ *= *\[[^\]]*\]$/gm, '');
    for (const line of rest.split('\n')) assert.match(line, /^(?:[A-Z0-9_]+ *= *"[^"]*")?$/);
  });
});

describe('contextualization: "drain this machine"', () => {
  const SOON = /\b\d{10}\b/g;
  for (const [platform, machine, at, never] of [
    [
      'openstack',
      'worker',
      'openstack server set --property shutdowntime=T worker',
      'openstack server unset --property shutdowntime worker',
    ],
    ['onegate', '17', 'onegate vm update 17 --data SHUTDOWNTIME=T', 'onegate vm update 17 --erase SHUTDOWNTIME'],
    [
      'ec2',
      'i-17',
      'aws ec2 create-tags --resources i-17 --tags Key=shutdowntime,Value=T',
      'aws ec2 delete-tags --resources i-17 --tags Key=shutdowntime',
    ],
    [
      'gce',
      'worker',
      'gcloud compute instances add-metadata worker --metadata shutdowntime=T',
      'gcloud compute instances remove-metadata worker --keys shutdowntime',
    ],
    [
      'azure',
      '/vm',
      'az vm update --ids /vm --set tags.shutdowntime=T',
      'az vm update --ids /vm --remove tags.shutdowntime',
    ],
  ] as const) {
    it(`${platform}: one line to say it, one to take it back`, (t) => {
      const bed = pretend(t, 'deb');
      const soonest = Math.floor(Date.now() / 1000) + 7200;
      for (const when of ['7200', 'never'])
        succeeds('sh', [path.join(SNIPPETS, 'host/drain.sh'), platform, machine, when], { env: bed.env });
      const calls = bed.calls();
      const said = Number(calls[0]?.match(SOON)?.[0]);
      assert.ok(said >= soonest && said <= soonest + TOOL_MS / 1000, calls[0]);
      assert.deepEqual(
        calls.map((call) => call.replace(SOON, 'T')),
        [at, never],
      );
    });
  }

  it('opennebula: a line for the user template that the agent understands', (t) => {
    const bed = pretend(t, 'deb');
    succeeds('sh', [path.join(SNIPPETS, 'host/drain.sh'), 'opennebula', '17', '7200'], { env: bed.env });
    assert.match(bed.calls()[0] ?? '', /^onevm update 17 \S+ --append$/);
    assert.match(bed.calls()[1] ?? '', /^SHUTDOWNTIME = "\d{10}"$/);
    assert.deepEqual(fs.readdirSync(bed.temporary), []);
  });

  it('directory: the key is there at once and as a whole, and goes again', (t) => {
    const shared = temporary(t);
    const features = path.join(shared, 'machinefeatures');
    fs.mkdirSync(features);
    const drain = (when: string) => succeeds('sh', [path.join(SNIPPETS, 'host/drain.sh'), 'directory', shared, when]);
    drain('7200');
    assert.deepEqual(fs.readdirSync(features), ['shutdowntime']);
    assert.match(fs.readFileSync(path.join(features, 'shutdowntime'), 'utf8'), /^\d{10}\n$/);
    drain('never');
    assert.deepEqual(fs.readdirSync(features), []);
  });

  it('anything else is told how it is used', () => {
    for (const args of [[], ['openstack', 'worker'], ['openstack', 'worker', '2h'], ['opennebula', '17', 'never']]) {
      const { status, stderr } = spawnSync('sh', [path.join(SNIPPETS, 'host/drain.sh'), ...args], { encoding: 'utf8' });
      assert.equal(status, 64);
      assert.match(stderr, /^usage: /);
    }
  });
});

type Test = { after(done: () => void): void };

/**
 * A machine in which commands only write down that they were called. `curl` gives a file, at the second time where there is
 * one called `late`; a script's own paths lead into the directory.
 */
function pretend(t: Test, family: 'deb' | 'rpm') {
  const directory = temporary(t);
  const [bin, etc, temp] = ['bin', 'etc', 'tmp'].map((name) => path.join(directory, name)) as [string, string, string];
  for (const made of [bin, path.join(etc, 'conf.d'), temp]) fs.mkdirSync(made, { recursive: true });
  const log = path.join(directory, 'calls');
  const stub = (name: string, more = ''): void =>
    fs.writeFileSync(path.join(bin, name), `#!/bin/sh\necho "${name} $*" >> '${log}'\n${more}`, { mode: 0o755 });
  for (const name of 'systemctl hostname openstack onegate aws gcloud az qemu-system-x86_64'.split(' ')) stub(name);
  stub(family === 'deb' ? 'apt-get' : 'rpm');
  stub('sleep');
  stub('onevm', `cat "$3" >> '${log}'\n`);
  stub('curl', `rm '${directory}/late' 2> /dev/null && exit 6\necho package > "$3"\n`);
  // Owners cannot be had here.
  fs.writeFileSync(path.join(bin, 'install'), '#!/bin/sh\nshift 2\nexec /usr/bin/install "$@"\n', { mode: 0o755 });
  // Not those of the machine that the test runs on: of two package managers only one is to be there.
  for (const name of 'sh cat chmod date echo mktemp mv rm sha256sum'.split(' ')) {
    const real = ['/usr/bin', '/bin'].map((at) => path.join(at, name)).find((file) => fs.existsSync(file));
    if (real !== undefined) fs.symlinkSync(real, path.join(bin, name));
  }
  const env = { PATH: bin, TMPDIR: temp };
  return {
    directory,
    etc,
    temporary: temp,
    env,
    run(script: string): void {
      const file = path.join(directory, 'script');
      const here = script.replaceAll('/usr/bin/mjf-agent', path.join(directory, 'mjf-agent'));
      fs.writeFileSync(file, here.replaceAll('etc=/etc/mjf-agent', `etc=${etc}`));
      succeeds(path.join(bin, 'sh'), [file], { env });
    },
    calls: (): readonly string[] =>
      fs.existsSync(log)
        ? fs
            .readFileSync(log, 'utf8')
            .split('\n')
            .filter((line) => line !== '')
        : [],
  };
}

/** By the agent's own `check`, and without so much as a warning. */
async function accepted(t: Test, configuration: string): Promise<void> {
  const file = path.join(temporary(t), 'config.toml');
  fs.writeFileSync(file, configuration);
  const { code, out, err } = await runProgram(['check', file]);
  assert.equal(code, 0, `${err}\n${configuration}`);
  assert.ok(!out.includes('warning'), out);
}

function temporary(t: Test): string {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-context-'));
  t.after(() => fs.rmSync(directory, { recursive: true }));
  return directory;
}
