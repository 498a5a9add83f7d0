/** What migration.md offers in place of older ways, on the built agent and the stand-in hosts; the blocks are taken from its text. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test, { describe, type TestContext } from 'node:test';
import { place, script } from '../hand/fixture.ts';
import { startEc2Host } from '../hosts/ec2.ts';
import { inSecs, startAgent } from '../support/agent.ts';
import { PROGRAM, runProgram } from '../support/program.ts';
import { ROOT } from './program-words.ts';

const TEXT = fs.readFileSync(path.join(ROOT, 'packaging/docs/migration.md'), 'utf8');

/** The first shell block after these words. */
function blockAfter(words: string): string {
  const start = TEXT.indexOf(words);
  assert.ok(start >= 0, `migration.md does not say "${words}" any more`);
  const block = /^```sh\n([\s\S]*?)^```/m.exec(TEXT.slice(start))?.[1];
  assert.ok(block !== undefined);
  return block;
}

/** As a user has it in a terminal: the program is in his PATH. */
function inShell(t: TestContext, block: string, env: Readonly<Record<string, string>> = {}): string {
  const bin = place(t);
  script(`${bin}/bin/mjf-agent`, `exec "${process.execPath}" "${PROGRAM}" "$@"`);
  return execFileSync('sh', ['-eu', '-c', block], {
    encoding: 'utf8',
    timeout: 60_000,
    env: { PATH: `${bin}/bin:${process.env['PATH']}`, TMPDIR: bin, ...env },
  });
}

describe('migration', () => {
  test('the end of a spot script as a hook: run when payloads are stopped, and told how long there is', async (t) => {
    const hooks = place(t);
    const [first, ...rest] = blockAfter('What it does at the end becomes a hook').split('\n');
    assert.equal(first, '#!/bin/sh');
    script(`${hooks}/hooks.d/stopping/50-save`, rest.join('\n'));
    const host = await startEc2Host({ tokens: 'required', lifeCycle: 'spot' });
    t.after(() => host.close());
    const config = `sources = ["ec2", "self"]\n[source.ec2]\nbase_url = "${host.url}"\npoll = "200ms"\n[hooks]\ndir = "${hooks}/hooks.d"\n`;
    const agent = await startAgent(t, { config, channels: [] });
    host.spot('terminate', inSecs(90) * 1000);
    const said = await agent.log('hook_output', ({ hook }) => hook === 'stopping/50-save');
    const [, secs] = /^saving: ec2: spot terminate, (\d+) s left$/.exec(String(said['line'])) ?? [];
    assert.ok(Number(secs) > 0 && Number(secs) <= 91, String(said['line']));
    await agent.log('hook_ok');
    host.noSpot();
    await agent.until('taken back', ({ phase, deadline }) => phase === 'running' && deadline === null);
  });

  test('or as exec: SIGTERM in time, exit code 75', async (t) => {
    const host = await startEc2Host({ lifeCycle: 'spot' });
    t.after(() => host.close());
    const config = `sources = ["ec2", "self"]\n[source.ec2]\nbase_url = "${host.url}"\npoll = "200ms"\n`;
    const agent = await startAgent(t, { config, channels: [] });
    // The words of the document, with a program that saves.
    assert.match(blockAfter('no script at all'), /^mjf-agent exec --grace 90s -- sh -c /);
    const program = 'trap "echo saved; exit 0" TERM; echo begun; while :; do sleep 0.1; done';
    const ran = runProgram(['exec', '--grace', '90s', '--', 'sh', '-c', program], {
      env: { MJF_AGENT_RUNTIME_DIR: agent.runtimeDir },
    });
    await agent.log('payload_registered');
    host.spot('terminate', inSecs(80) * 1000);
    const { code, out } = await ran;
    assert.deepEqual([code, out], [75, 'begun\nsaved\n']);
  });

  test('mjf-scripts: what stands in /etc/sysconfig/mjf is said by the converted file', async (t) => {
    const block = `${blockAfter('Old settings as ours')}\ncat "$dir/50-mjf-scripts.toml" >&2; cp "$dir"/*.toml "$OUT"`;
    const out = `${place(t)}/converted.toml`;
    assert.match(inShell(t, block, { OUT: out }), /ok/);
    const agent = await startAgent(t, { config: fs.readFileSync(out, 'utf8') });
    const { machinefeatures, jobfeatures } = await agent.until(
      'the old values',
      (lifetime) => lifetime.machinefeatures['hs06'] !== undefined,
    );
    assert.deepEqual(
      [machinefeatures['total_cpu']?.value, machinefeatures['hs06']?.value, machinefeatures['grace_secs']?.value],
      ['8', '171.04', '3600'],
    );
    assert.equal(jobfeatures['max_rss_bytes']?.value, '17179869184');
  });

  test('mjf-scripts: beside them, the directory that they write is one source among others', async (t) => {
    const far = inSecs(7200);
    const agent = await startAgent(t, {
      machine: { hs06: '171.04', log_cores: '8', shutdowntime: String(far) },
      config: '[source.static]\nmachinefeatures = { hepscore23 = "190.1" }\n',
    });
    const seen = await agent.until('both', ({ deadline }) => deadline === far);
    const said = (key: string) => seen.machinefeatures[key]?.value;
    assert.deepEqual([said('total_cpu'), said('hs06'), said('hepscore23')], ['8', '171.04', '190.1']);
    // The operator is earlier than the file: it counts, and the file is left as it was.
    const env = { MJF_AGENT_RUNTIME_DIR: agent.runtimeDir };
    assert.equal((await runProgram(['notice', '--in', '1h'], { env })).code, 0);
    await agent.until('the earlier time', ({ deadline }) => deadline !== null && deadline < far);
    assert.equal((await runProgram(['notice', '--cancel'], { env })).code, 0);
    await agent.until('the file’s time', ({ deadline }) => deadline === far);
    assert.equal(fs.readFileSync(path.join(agent.hostDirs.machine, 'shutdowntime'), 'utf8').trim(), String(far));
  });

  test('HTCondor: the script of the startd says what is known, and nothing of what is not', async (t) => {
    const block = blockAfter('A cron job of the startd');
    const agent = await startAgent(t, {});
    const env = { MJF_AGENT_RUNTIME_DIR: agent.runtimeDir };
    assert.equal(inShell(t, block, env), 'MjfShutdownTime = undefined\nMjfDrains = false\n-\n');
    const soon = inSecs(600);
    assert.equal((await runProgram(['notice', '--at', String(soon)], { env })).code, 0);
    await agent.until('the deadline', ({ phase }) => phase === 'draining');
    assert.equal(inShell(t, block, env), `MjfShutdownTime = ${soon}\nMjfDrains = true\n-\n`);
    const nobody = { MJF_AGENT_RUNTIME_DIR: `${agent.dir}/nowhere` };
    assert.equal(inShell(t, block, nobody), 'MjfShutdownTime = undefined\nMjfDrains = undefined\n-\n');
  });
});
