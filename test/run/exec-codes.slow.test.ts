/**
 * What a payload of `exec` says to the site when it ends (SEMANTICS S5.3; mjf.md, "VM to site"), with the built program: its
 * own last word, that of its exit code, and the one message of all in the site's directory.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test, { describe } from 'node:test';
import { inSecs, type LogLine, startAgent, type TestAgent } from '../support/agent.ts';
import type { Ending } from '../support/processes.ts';
import { PROGRAM, type Ran, runProgram } from '../support/program.ts';
import { exitCode, heard, payloadRows, registered, startExec } from './exec-payload.ts';

const NO_DAEMON = '/nonexistent/mjf-agent';
const GIVE_UP_MS = 60_000;
const LOOK_MS = 50;
const REQUESTED = '100 Shutdown as requested by the host';

/** `mjf-agent finish …` as a payload calls it, told nothing but what exec has put into its environment. */
const finish = (words: string): string => `${process.execPath} ${PROGRAM} finish ${words}`;
const shell = (agent: TestAgent, script: string, ...options: readonly string[]): Promise<Ran> =>
  runProgram(['exec', '--runtime-dir', agent.runtimeDir, ...options, '--', '/bin/sh', '-c', script]);
const saying = (code: number, by: string) => (line: LogLine) => line['code'] === code && line['by'] === by;

interface Scene {
  readonly agent: TestAgent;
  /** The site's directory. */
  readonly site: string;
}

async function withSite(t: Ending, config = ''): Promise<Scene> {
  const site = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-site-'));
  t.after(() => fs.rmSync(site, { recursive: true }));
  const report = `[report.joboutputs]\ndirectory = "${site}"\n`;
  return { agent: await startAgent(t, { machine: { total_cpu: 8 }, config: config + report }), site };
}

/** The message as soon as it is this one, to the last byte; it is one file that is replaced as a whole. */
async function untilMessage(site: string, wanted: string): Promise<void> {
  const file = path.join(site, 'shutdown_message');
  const giveUpAt = Date.now() + GIVE_UP_MS;
  for (;;) {
    const text = fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '(none)';
    if (text === wanted) return;
    if (Date.now() > giveUpAt) assert.equal(text, wanted);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

describe('the word of an exit code', { concurrency: 2 }, () => {
  test('0 is 200, others and signals are 700, a mapping of the flag beats that of the configuration', async (t) => {
    const agent = await startAgent(t, { machine: { total_cpu: 8 } });
    const file = path.join(agent.dir, 'exec.toml');
    fs.writeFileSync(file, '[report.codes]\n3 = "300 No more work"\n4 = "400"\nother = "600"\n');
    const codes = ['--config', file, '--code', '4=500:No scratch space', '--code', 'signal=650'];
    for (const [script, options, code, word] of [
      ['exit 0', [], 0, '200 Intended work completed'],
      ['exit 3', [], 3, '700 Payload ended with exit code 3'],
      ['kill -SEGV $$', [], 139, '700 Payload was ended by SIGSEGV'],
      ['exit 3', codes, 3, '300 No more work'],
      ['exit 4', codes, 4, '500 No scratch space'],
      ['exit 5', codes, 5, '600'],
      ['kill -SEGV $$', codes, 139, '650'],
    ] as const) {
      assert.equal((await shell(agent, script, ...options)).code, code, 'exec’s own code is the payload’s');
      const line = await agent.log('final_word');
      assert.deepEqual(
        [line['code'], line['by']],
        [Number(word.slice(0, 3)), 'exit'],
        `${script} ${options.join(' ')}`,
      );
    }
  });

  test('a command that could not be started says nothing; wrong mappings are refused before anything is started', async (t) => {
    const agent = await startAgent(t, { machine: { total_cpu: 8 } });
    const none = await runProgram(['exec', '--runtime-dir', agent.runtimeDir, '--', '/nonexistent/command']);
    const wrong = await shell(agent, 'echo started', '--code', '300=3');
    assert.deepEqual([none.code, wrong.code, wrong.out], [127, 64, '']);
    assert.match(wrong.err, /--code takes EXIT=NNN/);
    assert.equal((await shell(agent, 'exit 0')).code, 0);
    assert.equal((await agent.log('final_word'))['code'], 200, 'the first word of all');
  });

  test('with the daemon away it ends with its own code all the same, and says nothing to anybody', async (t) => {
    const agent = await startAgent(t, { machine: { total_cpu: 8 } });
    const payload = await startExec(t, {
      runtimeDir: agent.runtimeDir,
      script: `process.stdin.once('data', () => process.exit(5)); say('ready');`,
    });
    await registered(agent, 1);
    await agent.kill9();
    payload.child.stdin?.write('\n');
    assert.equal(await exitCode(payload), 5);
  });

  test('a daemon that hangs does not hold it up for ever', async (t) => {
    const agent = await startAgent(t, { machine: { total_cpu: 8 } });
    const payload = await startExec(t, {
      runtimeDir: agent.runtimeDir,
      script: `process.stdin.once('data', () => process.exit(5)); say('ready');`,
    });
    await registered(agent, 1);
    agent.signal('SIGSTOP');
    payload.child.stdin?.write('\n');
    assert.equal(await exitCode(payload), 5);
  });
});

describe('one that the host stops', { concurrency: 3 }, () => {
  const CONFIG = '[stop]\ngrace = "4s"\n';
  for (const [name, end, options, word] of [
    ['in order', 'process.exit(0)', [], REQUESTED],
    ['by the signal', 'process.kill(process.pid, "SIGKILL")', [], REQUESTED],
    ['in order, whatever a good end is called otherwise', 'process.exit(0)', ['--code', '0=201:Done'], REQUESTED],
    [
      'and which cannot save its work',
      'process.exit(3)',
      [],
      '700 Payload ended with exit code 3 while it was being stopped',
    ],
    ['and whose code is a fault by its mapping', 'process.exit(0)', ['--code', '0=300:No work'], '300 No work'],
  ] as const) {
    test(`${name}: ${word.slice(0, 3)}`, async (t) => {
      const { agent, site } = await withSite(t, CONFIG);
      const payload = await startExec(t, {
        runtimeDir: agent.runtimeDir,
        options,
        script: `hear('SIGTERM', () => ${end}); say('ready');`,
      });
      await registered(agent, 1);
      agent.hostDirs.set('machine', 'shutdowntime', inSecs(7 + agent.slackSecs));
      await heard(payload, 'SIGTERM');
      assert.equal(await exitCode(payload), 75);
      const line = await agent.log('final_word');
      assert.deepEqual([line['code'], line['by']], [Number(word.slice(0, 3)), 'exit']);
      await untilMessage(site, word);
    });
  }
});

describe('finish', { concurrency: 2 }, () => {
  test('the payload’s own word, whatever its exit code; one message of all for the site, to the byte', async (t) => {
    const { agent, site } = await withSite(t);
    const first = await shell(agent, `${finish('200 All "events" done')} && exit 9`, '--name', 'simulation');
    assert.equal(first.code, 9);
    assert.match(first.out, /^simulation \([^)]+\): 200 All events done\n$/);
    await agent.log('final_word', saying(200, 'payload'));
    await untilMessage(site, '200 All events done');
    // Of several the highest from 300 on, and no exit code after it.
    await shell(agent, `${finish('300 No more work')}; ${finish('600')}; ${finish('350 Queue is empty')}`);
    await untilMessage(site, '350 Queue is empty');
    assert.equal((await shell(agent, 'exit 0')).code, 0);
    await agent.until('three have lived', ({ payloads }) => payloads.stopped === 3);
    await untilMessage(site, '350 Queue is empty');
  });

  test('MJF_PAYLOAD_URL is its own row, where it can say how long it needs; an inner exec has another', async (t) => {
    const agent = await startAgent(t, { machine: { total_cpu: 8 } });
    const inner = `${process.execPath} ${PROGRAM} exec --runtime-dir`;
    const script = `echo "$MJF_PAYLOAD_URL"; ${inner} ${agent.runtimeDir} -- sh -c 'echo "$MJF_PAYLOAD_URL"';
      ${inner} ${NO_DAEMON} -- sh -c 'echo "[$MJF_PAYLOAD_URL]"'`;
    const [outer = '', own = '', without] = (await shell(agent, script)).out.split('\n');
    for (const url of [outer, own]) assert.match(url, new RegExp(`^${agent.url}/v1/payloads/[^/]+$`));
    assert.notEqual(outer, own);
    assert.equal(without, '[]');

    const payload = await startExec(t, {
      runtimeDir: agent.runtimeDir,
      script: `fetch(process.env.MJF_PAYLOAD_URL, { method: 'PATCH', headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ can_terminate: false, needs_secs: 600, progress: 0.4 }) })
        .then(({ status }) => say('told ' + status)); say('ready');`,
    });
    await payload.line(/^told 200$/);
    const [row] = (await payloadRows(agent)) as unknown as readonly {
      readonly can_terminate: { readonly now: boolean };
    }[];
    assert.equal(row?.can_terminate.now, false);
  });

  test('by its ancestors where the environment says nothing; nobody’s word is refused, root’s is the machine’s', async (t) => {
    const agent = await startAgent(t, { machine: { total_cpu: 8 } });
    const bare = `env -i ${finish(`--runtime-dir ${agent.runtimeDir} 400 Banned`)}`;
    const called = await shell(agent, bare, '--name', 'analysis');
    assert.match(called.out, /^analysis \([^)]+\): 400 Banned\n$/);
    await agent.log('final_word', saying(400, 'payload'));
    const alone = await runProgram(['finish', '--runtime-dir', agent.runtimeDir, '500', 'No', 'network']);
    if (process.getuid?.() === 0) {
      assert.deepEqual([alone.code, alone.err], [0, '']);
      assert.match(alone.out, /the machine's own word/);
      await agent.log('final_word', (line) => line['code'] === 500 && line['payload'] === undefined);
    } else {
      assert.equal(alone.code, 1);
      assert.match(alone.err, /belongs to no payload/);
    }
    assert.equal((await runProgram(['finish', '--runtime-dir', NO_DAEMON, '500'])).code, 69);
  });
});
