import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import type { DaemonAnswer } from '../../agent/client.ts';
import { parseLifetime } from '../../agent/commands/lifetime-document.ts';
import { explain } from '../../agent/commands/outcome.ts';
import { changeLine } from '../../agent/commands/watch-line.ts';
import { runProgram } from '../support/program.ts';
import { fakeDaemon, lifetime, run, start } from './cli.ts';

const NOW_MS = 1_766_430_000_000;
const DEADLINE = 1_766_434_980;

const FULL = lifetime({
  phase: 'draining',
  deadline: DEADLINE,
  grace_secs: 120,
  drain_at: 1_766_429_000,
  stop_at: DEADLINE - 120,
  reason: 'ec2: spot terminate',
  termination_allowed: true,
  can_terminate: { now: false, at: 1_766_439_000 },
  notices: [
    {
      id: 'ec2/spot',
      source: 'ec2',
      kind: 'terminate',
      deadline: DEADLINE,
      reason: 'spot',
      first_seen: 1,
      stale: true,
    },
  ],
  jobfeatures: { job_id: { value: 'x\u001b[2J', source: 'mjf', since: 1, stale: true } },
  payloads: { running: 2, stopping: 0, stopped: 1 },
});

function parsed(text: string) {
  const document = parseLifetime(Buffer.from(text));
  assert.ok(document);
  return document;
}

test('what is no lifetime document is none', () => {
  for (const text of ['', 'null', '[]', '{}', '{"phase":5}', '<html>']) {
    assert.equal(parseLifetime(Buffer.from(text)), undefined);
  }
});

test('watch tells what changed and nothing else', () => {
  const before = parsed(lifetime());
  const after = parsed(FULL);
  assert.equal(changeLine(undefined, before, NOW_MS), '2025-12-22T19:00:00Z phase running; no deadline');
  assert.equal(
    changeLine(before, after, NOW_MS),
    '2025-12-22T19:00:00Z phase draining (was running); deadline 2025-12-22T20:23:00Z, in 1 h 23 min (ec2: spot terminate); ' +
      'notice ec2/spot (terminate: spot); can_terminate at 2025-12-22T21:30:00Z; jobfeatures/job_id=x\u001b[2J; ' +
      'payloads 2 running, 0 stopping, 1 stopped',
  );
  assert.match(
    changeLine(after, before, NOW_MS) ?? '',
    /no deadline; notice ec2\/spot gone; .*jobfeatures\/job_id gone/,
  );
  assert.equal(changeLine(after, after, NOW_MS), undefined);
});

test('status --json prints the document, its control characters escaped and still JSON', async () => {
  const daemon = await fakeDaemon(() => ({ status: 200, body: FULL }));
  try {
    const { code, out } = await run(['status', '--json', '--runtime-dir', daemon.runtimeDir]);
    assert.equal(code, 0);
    assert.deepEqual(JSON.parse(out), JSON.parse(FULL));
    const screen = await run(['status'], daemon.env);
    assert.match(screen.out, /^phase +draining/);
    const rows = process.getuid?.() === 0 ? 'admin' : 'tcp';
    assert.deepEqual(
      daemon.requests.map(({ channel, url }) => [channel, url]),
      [
        ['agent', '/v1/lifetime'],
        ['agent', '/v1/lifetime'],
        [rows, '/v1/payloads'],
      ],
    );
  } finally {
    await daemon.close();
  }
});

test('get looks in the machine features, then in the job features; an unknown key is exit code 1', async () => {
  const values: Record<string, string> = {
    '/machinefeatures/hs06': '171.04\n',
    '/jobfeatures/job_id': 'vm\u001b-17',
    '/jobfeatures/hs06': '9\n',
  };
  values['/v1/lifetime'] = lifetime();
  const daemon = await fakeDaemon(({ url }) =>
    values[url] === undefined ? { status: 404, body: '' } : { status: 200, body: values[url] },
  );
  try {
    assert.deepEqual(await run(['get', 'hs06'], daemon.env), { code: 0, out: '171.04\n', err: '' });
    assert.deepEqual(await run(['get', 'jobfeatures/hs06'], daemon.env), { code: 0, out: '9\n', err: '' });
    assert.deepEqual(await run(['get', 'job_id'], daemon.env), { code: 0, out: 'vm\\u001b-17\n', err: '' });
    assert.deepEqual(await run(['get', 'shutdowntime'], daemon.env), {
      code: 1,
      out: '',
      err: 'mjf-agent: shutdowntime is not known now: no source gives it ("mjf-agent status" shows every key that there is)\n',
    });
    for (const key of ['can_terminate', 'jobstatus/progress']) {
      const { code, err } = await run(['get', key], daemon.env);
      assert.deepEqual(
        [code, err],
        [
          1,
          `mjf-agent: ${key} is not known now: no payload has said it ("mjf-agent status" shows the answer to the site)\n`,
        ],
      );
    }
    assert.match((await run(['get', 'total_cpus'], daemon.env)).err, /did you mean "total_cpu"\?/);
    const wrong = await run(['get', '../../v1/lifetime'], daemon.env);
    assert.equal(wrong.code, 64);
  } finally {
    await daemon.close();
  }
});

test('no daemon is exit code 69 and one sentence', async () => {
  const runtimeDir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-cli-'));
  try {
    for (const argv of [['status'], ['get', 'hs06'], ['watch'], ['env'], ['env', '--url'], ['notice', '--in', '5m']]) {
      const { code, out, err } = await run([...argv, '--runtime-dir', runtimeDir]);
      assert.deepEqual([argv, code, out], [argv, 69, '']);
      assert.match(
        err,
        /^mjf-agent: the daemon does not run: [^\n]+; is [^\n]+ the right directory \(--runtime-dir, [^\n]+\n$/,
      );
    }
  } finally {
    fs.rmSync(runtimeDir, { recursive: true });
  }
});

test('the service of a package is named where the usual directory is meant, and whose directory it is where that is closed', async (t) => {
  const said = (answer: DaemonAnswer, runtimeDir: string) => {
    const complaints: string[] = [];
    const code = explain(answer, runtimeDir, { out: assert.fail, complain: (text) => complaints.push(text) });
    return [code, complaints.join()] as const;
  };
  const [code, text] = said({ unreachable: 'the daemon does not run: no socket', code: 'ENOENT' }, '/run/mjf-agent');
  assert.equal(code, 69);
  assert.match(text, /^the daemon does not run: no socket; "systemctl status mjf-agent" says why, .*--runtime-dir$/);
  const denied = said({ unreachable: 'this user may not use it', code: 'EACCES' }, '/');
  assert.deepEqual(denied.slice(0, 1), [77]);
  assert.match(denied[1], /^this user may not use it; \/ belongs to uid 0: try again as that user or with sudo/);
  const late = said({ unreachable: 'it did not answer', code: 'timeout' }, '/run/mjf-agent');
  assert.match(late[1], /"systemctl status mjf-agent" and "journalctl -u mjf-agent"$/);
  // A daemon that has sockets alone: whoever must be known by the connection cannot speak.
  const daemon = await fakeDaemon(() => ({ status: 404, body: '' }));
  t.after(() => daemon.close());
  const unheard = said({ unreachable: 'it has no HTTP interface', code: 'ENOENT' }, daemon.runtimeDir);
  assert.match(unheard[1], /try with sudo, or have "listen" of its configuration name an address$/);
});

test('output that cannot be written is a failure and is told', {
  skip: !fs.existsSync('/dev/full') && 'needs /dev/full',
}, async () => {
  const full = fs.openSync('/dev/full', 'w');
  try {
    const main = path.resolve(import.meta.dirname ?? __dirname, '../../agent/main.ts');
    const args = ['--import', 'tsx', main, '--help'];
    const { status, stderr } = spawnSync(process.execPath, args, { stdio: ['ignore', full, 'pipe'], encoding: 'utf8' });
    assert.equal(status, 1);
    assert.match(stderr, /^mjf-agent: the output cannot be written: ENOSPC: [^\n]+\n$/);
  } finally {
    fs.closeSync(full);
  }
});

test('a daemon that is not well (503) is exit code 69, with its reason', async () => {
  const body = JSON.stringify({ status: 503, code: 'starting', detail: 'still starting' });
  const daemon = await fakeDaemon(() => ({ status: 503, body }));
  try {
    const { code, err } = await run(['status'], daemon.env);
    assert.deepEqual(
      [code, err],
      [69, 'mjf-agent: the daemon cannot answer now (503): still starting; try again, and see its log\n'],
    );
  } finally {
    await daemon.close();
  }
});

test('env names the directories, and with --url the URLs; JOBOUTPUTS is a URL in both', async () => {
  const daemon = await fakeDaemon(() => ({ status: 404, body: '' }));
  try {
    fs.writeFileSync(path.join(daemon.runtimeDir, 'lifetime.json'), '{}\n');
    assert.equal(
      (await run(['env'], daemon.env)).out,
      `MACHINEFEATURES=${daemon.runtimeDir}/machinefeatures\nJOBFEATURES=${daemon.runtimeDir}/jobfeatures\nJOBOUTPUTS=${daemon.url}/joboutputs\n`,
    );
    assert.equal(
      (await run(['env', '--url'], daemon.env)).out,
      `MACHINEFEATURES=${daemon.url}/machinefeatures\nJOBFEATURES=${daemon.url}/jobfeatures\nJOBOUTPUTS=${daemon.url}/joboutputs\n`,
    );
    fs.rmSync(path.join(daemon.runtimeDir, 'url'));
    const without = await run(['env'], daemon.env);
    assert.deepEqual([without.code, without.out.includes('JOBOUTPUTS')], [0, false]);
    // A host's mount covers the machine's directory: the daemon publishes beside it, and that is named.
    fs.mkdirSync(path.join(daemon.runtimeDir, 'own/machinefeatures'), { recursive: true });
    const beside = `MACHINEFEATURES=${daemon.runtimeDir}/own/machinefeatures\nJOBFEATURES=${daemon.runtimeDir}/jobfeatures\n`;
    assert.equal((await run(['env'], daemon.env)).out, beside);
    // A foreign address in the file is not believed.
    fs.writeFileSync(path.join(daemon.runtimeDir, 'url'), 'http://192.0.2.1:80\n');
    assert.equal((await run(['env', '--url'], daemon.env)).code, 69);
  } finally {
    await daemon.close();
  }
});

test('watch prints the state, then a line per change, asks by hanging GET, and survives a restart of the daemon', async () => {
  let change: (() => void) | undefined;
  const serve = (first: string, second: string) => {
    let changed = false;
    return async ({ url }: { readonly url: string }) => {
      if (url.includes('wait_for_change=true') && !changed) {
        await new Promise<void>((resolve) => {
          change = resolve;
        });
        changed = true;
      }
      const body = changed ? second : first;
      return { status: 200, body, headers: { etag: `"${body.length}"` } };
    };
  };
  const daemon = await fakeDaemon(serve(lifetime(), FULL));
  const watch = start(['watch'], daemon.env);
  try {
    await watch.until('stdout', /phase running; no deadline\n/);
    while (change === undefined) await new Promise((resolve) => setImmediate(resolve));
    change();
    await watch.until('stdout', /phase draining \(was running\).*\\u001b/);
    assert.match(
      daemon.requests[1]?.url ?? '',
      /^\/v1\/lifetime\?wait_for_change=true&last_etag=%22\d+%22&timeout_sec=60$/,
    );
    await daemon.stop();
    await watch.until('stderr', /lost, waiting/);
    fs.rmSync(path.join(daemon.runtimeDir, 'agent.sock'), { force: true });
    const again = await fakeDaemon(serve(lifetime({ phase: 'stopped' }), FULL));
    try {
      fs.renameSync(path.join(again.runtimeDir, 'agent.sock'), path.join(daemon.runtimeDir, 'agent.sock'));
      await watch.until('stderr', /connected to the daemon again/);
      await watch.until('stdout', /phase stopped \(was draining\)/);
    } finally {
      watch.child.kill();
      await watch.ended;
      await again.close();
    }
  } finally {
    watch.child.kill();
    await watch.ended;
    await daemon.close();
  }
});

test('watch --json prints each document as one line; a reader that goes away ends it quietly', async () => {
  let count = 0;
  const daemon = await fakeDaemon(() => {
    count += 1;
    return { status: 200, body: lifetime({ deadline: count }), headers: { etag: `"${count}"` } };
  });
  const watch = start(['watch', '--json'], daemon.env);
  try {
    const text = await watch.until('stdout', /\n.*\n/);
    const [first, second] = text.split('\n').map((line) => (line === '' ? null : JSON.parse(line)));
    assert.deepEqual([first.deadline, second.deadline], [1, 2]);
    watch.child.stdout.destroy();
    const { code, err } = await watch.ended;
    assert.deepEqual([code, err], [0, '']);
  } finally {
    watch.child.kill();
    await daemon.close();
  }
});

test('the demo without a place to write says which variable names another', async () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-cli-'));
  try {
    // The built program: what runs the sources would make the directory for itself.
    const { code, out, err } = await runProgram(['demo'], { env: { TMPDIR: path.join(dir, 'absent') } });
    assert.deepEqual([code, out], [73, '']);
    assert.match(err, /^mjf-agent: demo: ENOENT.*; it needs a place to write: TMPDIR=DIRECTORY names another\n$/);
  } finally {
    fs.rmSync(dir, { recursive: true });
  }
});
