/** What hooks.md shows and says: its scripts run, with stand-ins for the tools of other people; its tables are the program's. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import { checkHook } from '../../agent/hand/hook-files.ts';
import { SAFE_PATH } from '../../agent/hand/safe-path.ts';
import { HOOK_EVENTS } from '../../agent/lifetime/types.ts';
import { HOOK_VARIABLES } from '../../agent/payloads/hook-environment.ts';
import { post } from '../../agent/report/webhook-post.ts';
import { sampleEnvironments } from '../../packaging/generate/doc-hooks.ts';
import { startWebhookReceiver } from '../hosts/webhook.ts';

const ROOT = path.resolve(import.meta.dirname ?? __dirname, '../..');
const manual = fs.readFileSync(path.join(ROOT, 'packaging/docs/hooks.md'), 'utf8');
const HOOKS = '/etc/mjf-agent/hooks.d/';

/** By their paths below hooks.d. */
const scripts = new Map(
  [...manual.matchAll(/```sh\n(#![\s\S]*?)```/g)].map(([, text = '']) => {
    const [, name = ''] = new RegExp(`^# ${HOOKS}(\\S+)$`, 'm').exec(text) ?? [];
    return [name, text] as const;
  }),
);
const [notice = {}, , step = {}] = sampleEnvironments();

interface Stage {
  readonly dir: string;
  /** Where a path of the manual is here. */
  place(file: string): string;
  run(
    env?: Readonly<Record<string, string>>,
    stdin?: string,
  ): { readonly status: number | null; readonly stdout: string };
  calls(): readonly string[];
}

/** Tools that only write down how they were called, and what was on their standard input. */
const TOOLS = ['condor_drain', 'condor_off', 'scontrol', 'systemctl', 'curl'];

function stage(t: { after(done: () => void): void }, name: string): Stage {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-hooks-manual-'));
  t.after(() => fs.rmSync(dir, { recursive: true }));
  const place = (file: string): string => path.join(dir, 'root', file);
  const put = (file: string, text: string, mode: number): void => {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, text);
    fs.chmodSync(file, mode);
  };
  const told = path.join(dir, 'calls');
  for (const tool of TOOLS)
    put(
      path.join(dir, 'bin', tool),
      `#!/bin/sh\necho "${tool} $*" >> ${told}\n[ ${tool} != curl ] || cat >> ${told}\n`,
      0o755,
    );
  put(path.join(dir, 'bin/hostname'), '#!/bin/sh\necho "vm-17$([ "$1" != -f ] || echo .site.example)"\n', 0o755);
  put(place('/etc/mjf-agent/chat-url'), 'https://chat.example/secret\n', 0o400);
  const text = scripts.get(name);
  assert.ok(text !== undefined, `hooks.md has no ${name}`);
  const script = place(HOOKS + name);
  put(script, text.replace(/(?<=[ "(=])\/(etc|var|mnt)\//g, `${place('/')}$1/`), 0o755);
  const [directory = '', file = ''] = name.split('/');
  const found = checkHook(place(HOOKS.slice(0, -1)), directory, file, new Set([0, process.getuid?.() ?? 0]));
  assert.deepEqual([found.ok, [...HOOK_EVENTS, 'steps'].includes(directory)], [true, true], JSON.stringify(found));
  return {
    dir,
    place,
    run(env = notice, stdin = '{}') {
      const { status, stdout, stderr } = spawnSync(script, {
        cwd: '/',
        env: { ...env, PATH: `${dir}/bin:${SAFE_PATH}`, HOME: '/' },
        input: stdin,
        encoding: 'utf8',
        timeout: 60_000,
      });
      assert.equal(stderr, '');
      return { status, stdout };
    },
    calls: () => (fs.existsSync(told) ? fs.readFileSync(told, 'utf8').split('\n').filter(Boolean) : []),
  };
}

const needsJq = { skip: spawnSync('jq', ['--version']).error ? 'needs jq' : false };

describe('scripts of hooks.md', () => {
  it('are those that are tried here, all of them', () => {
    assert.deepEqual([...scripts.keys()].sort(), [
      'cancelled/20-condor',
      'cancelled/20-slurm',
      'draining/20-condor',
      'draining/20-slurm',
      'notice/30-chat',
      'steps/save-checkpoint',
      'stopped/50-unmount',
      'stopping/10-who',
      'stopping/20-condor',
    ]);
  });

  for (const [name, calls] of [
    ['draining/20-condor', ['condor_drain -graceful vm-17.site.example']],
    ['cancelled/20-condor', ['condor_drain -cancel vm-17.site.example']],
    ['stopping/20-condor', ['condor_off -startd -fast']],
    ['draining/20-slurm', ['scontrol update NodeName=vm-17 State=DRAIN Reason=mjf-agent: ec2: spot terminate']],
    ['cancelled/20-slurm', ['scontrol update NodeName=vm-17 State=RESUME']],
    ['stopped/50-unmount', ['systemctl is-active --quiet data.mount', 'systemctl stop data.mount']],
  ] as const)
    it(`${name} calls what it says`, (t) => {
      const there = stage(t, name);
      assert.equal(there.run().status, 0);
      assert.deepEqual(there.calls(), calls);
    });

  it('notice/30-chat tells the chat once, and not again after a crash', needsJq, (t) => {
    const there = stage(t, 'notice/30-chat');
    assert.equal(there.run().status, 0);
    const [call, ...body] = there.calls();
    assert.equal(call, 'curl -fsS -m 20 -H content-type: application/json -d @- https://chat.example/secret');
    assert.deepEqual(JSON.parse(body.join('\n')), { text: `${os.hostname()}: terminate at 21:46 UTC` });
    assert.equal(there.run({ ...notice, MJF_REPEATED: '1' }).status, 0);
    const { MJF_NOTICE_DEADLINE: _, ...timeless } = notice;
    assert.equal(there.run(timeless).status, 0);
    const asked = (): number => there.calls().filter((line) => line.startsWith('curl')).length;
    assert.equal(asked(), 2);
    fs.rmSync(there.place('/etc/mjf-agent/chat-url'));
    assert.match(there.run().stdout, /^no .*chat-url: nobody is told\n$/);
    assert.equal(asked(), 2);
  });

  it('stopping/10-who reads the Snapshot', needsJq, (t) => {
    const snapshot = { payloads: { running: 2, stopping: 1, stopped: 0 }, reason: 'ec2: spot terminate' };
    const { stdout } = stage(t, 'stopping/10-who').run(notice, JSON.stringify(snapshot));
    assert.equal(stdout, '3 payloads, ec2: spot terminate\n');
  });

  it('steps/save-checkpoint copies the whole of it, again over its own, and nothing to save is no failure', (t) => {
    const there = stage(t, 'steps/save-checkpoint');
    assert.equal(there.run(step).status, 0);
    const from = there.place('/var/spool/worker/checkpoint');
    const to = there.place(`/mnt/checkpoints/${os.hostname()}-${step['MJF_DEADLINE']}`);
    fs.mkdirSync(from, { recursive: true });
    fs.mkdirSync(path.dirname(to), { recursive: true });
    for (const content of ['first', 'second']) {
      fs.writeFileSync(path.join(from, 'state'), content);
      assert.equal(there.run(step).status, 0);
      assert.equal(fs.readFileSync(path.join(to, 'state'), 'utf8'), content);
    }
    assert.deepEqual(fs.readdirSync(path.dirname(to)), [path.basename(to)]);
    fs.rmSync(path.dirname(to), { recursive: true });
    fs.writeFileSync(path.dirname(to), 'a full disk');
    const { status } = spawnSync(there.place(`${HOOKS}steps/save-checkpoint`), { env: { ...step, PATH: SAFE_PATH } });
    assert.notEqual(status, 0, 'what was not saved is told');
  });

  it('shellcheck finds nothing', {
    skip: spawnSync('shellcheck', ['--version']).error ? 'needs shellcheck' : false,
  }, () => {
    for (const [name, text] of scripts) {
      const { stdout } = spawnSync('shellcheck', ['-'], { input: text, encoding: 'utf8' });
      assert.equal(stdout, '', name);
    }
  });
});

describe('who runs hooks', () => {
  it('may what hooks.md says, by the shipped units', () => {
    const unit = (name: string): string => fs.readFileSync(path.join(ROOT, 'packaging/systemd', name), 'utf8');
    const has = (name: string, ...lines: readonly string[]): void => {
      for (const line of lines) assert.ok(unit(name).split('\n').includes(line), `${name}: ${line}`);
    };
    has('mjf-agent.service', 'User=mjf-agent', 'ProtectSystem=strict', 'PrivateTmp=yes', 'ReadWritePaths=/run');
    assert.ok(!/^PrivateNetwork=/m.test(unit('mjf-agent.service')), 'the network');
    has('mjf-agent-hand@.service', 'PrivateNetwork=yes', 'ProtectSystem=full');
    has('mjf-agent-hand@.service', 'CapabilityBoundingSet=CAP_KILL CAP_SETUID CAP_SETGID');
    for (const name of ['mjf-agent.service', 'mjf-agent-hand@.service']) has(name, 'NoNewPrivileges=yes');
  });
});

describe('tables of hooks.md', () => {
  const rowsAfter = (heading: string): readonly string[] => {
    const [, rest = ''] = manual.split(heading);
    const [, table = ''] = /\n\|[^\n]*\n\| ---[^\n]*\n((?:\|[^\n]*\n)+)/.exec(rest) ?? [];
    return [...table.matchAll(/^\| `([^`]+)` \|/gm)].map(([, word = '']) => word);
  };

  it('every event, and no other', () => {
    assert.deepEqual(
      rowsAfter('## Events\n')
        .map((row) => row.split('/')[0])
        .sort(),
      [...HOOK_EVENTS, 'steps'].sort(),
    );
  });

  it('every variable, and no other', () => {
    assert.deepEqual(
      rowsAfter('**The environment**'),
      HOOK_VARIABLES.map(({ name }) => name),
    );
    const known = new Set(HOOK_VARIABLES.map(({ name }) => name));
    for (const [, name = ''] of manual.matchAll(/\b(MJF_[A-Z_]+)\b/g)) assert.ok(known.has(name), name);
    assert.ok(manual.includes(SAFE_PATH));
  });

  it('every header of a web hook, and no other', async (t) => {
    const receiver = await startWebhookReceiver();
    t.after(() => receiver.close());
    const secret = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-hooks-manual-')), 'token');
    t.after(() => fs.rmSync(path.dirname(secret), { recursive: true }));
    fs.writeFileSync(secret, 'Bearer x\n', { mode: 0o600 });
    const [, body = ''] = /```json\n([\s\S]*?)\n```/.exec(manual) ?? [];
    const result = await post(
      { url: receiver.url, events: ['notice'], authorizationFile: secret, caFile: null, certFile: null, keyFile: null },
      { run: '2-notice', event: 'notice', id: 'x/2-notice', body: Buffer.from(body), byMs: null },
      new AbortController().signal,
      () => undefined,
    );
    assert.equal(result.is, 'taken');
    assert.equal(receiver.events[0]?.body['phase'], 'running', 'the body in the manual is one');
    const ofTransport = ['host', 'connection', 'content-length'];
    const sent = Object.keys(receiver.requests[0]?.headers ?? {}).filter((name) => !ofTransport.includes(name));
    assert.deepEqual([...rowsAfter('**The body**')].sort(), sent.sort());
  });
});
