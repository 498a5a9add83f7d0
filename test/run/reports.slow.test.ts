/**
 * The machine's answer, from payload to site, with the built program (issue "The machine's answer", "How it is judged"): what
 * the stand-ins of the sites and platforms have been told, and when.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test, { describe } from 'node:test';
import { startAzureHost } from '../hosts/azure.ts';
import { makeCertificates } from '../hosts/certificates.ts';
import { type MjfHost, startMjfHost } from '../hosts/mjf.ts';
import { startOpennebulaHost } from '../hosts/opennebula.ts';
import { inSecs, startAgent, type TestAgent } from '../support/agent.ts';
import type { Ending } from '../support/processes.ts';
import { exitCode, registered, startExec } from './exec-payload.ts';
import { metric } from './faces.ts';

const CONFIG =
  '[stop]\ngrace = "6s"\nsteps = [ { at = "grace", signal = "SIGTERM" }, { at = "1s", signal = "SIGKILL" } ]\n';
/** Only the platform counts. */
const NO_DIRECTORIES = [] as const;
const POLL_MS = 50;
const GIVE_UP_MS = 60_000;

/** For what a stand-in holds, which announces itself to nobody. */
async function until<T>(what: string, look: () => T | undefined): Promise<T> {
  const giveUpAt = Date.now() + GIVE_UP_MS;
  for (;;) {
    const found = look();
    if (found !== undefined) return found;
    if (Date.now() > giveUpAt) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

const output = (host: MjfHost, name: string): string | undefined => host.outputs.get(name)?.toString();
const untilOutput = (host: MjfHost, name: string, text: string | RegExp): Promise<string> =>
  until(`${name} = ${text}`, () => {
    const found = output(host, name);
    return found !== undefined && (typeof text === 'string' ? found === text : text.test(found)) ? found : undefined;
  });

async function site(t: Ending): Promise<MjfHost> {
  const host = await startMjfHost();
  t.after(() => host.close());
  return host;
}

const reportTo = ({ url }: MjfHost): string => `[report.joboutputs]\nurl = "${url}/joboutputs"\n`;

interface Answer {
  readonly now: boolean;
  readonly at: number | null;
  readonly must_not_until: number | null;
  readonly progress: number | null;
}
const answerOf = async (agent: TestAgent): Promise<Answer | null> => {
  const { can_terminate: answer } = JSON.parse((await agent.request('/v1/lifetime')).body.toString()) as {
    can_terminate: Answer | null;
  };
  return answer;
};

/** A payload with a row of its own that the test speaks for. */
async function sleeper(t: Ending, agent: TestAgent, script = ''): Promise<string> {
  await startExec(t, {
    runtimeDir: agent.runtimeDir,
    script: `${script} say('url ' + process.env.MJF_PAYLOAD_URL); say('ready');`,
  });
  const rows = JSON.parse((await agent.request('/v1/payloads')).body.toString()) as { id: string }[];
  return rows.at(-1)?.id ?? '';
}

async function patch(agent: TestAgent, id: string, body: object): Promise<void> {
  const { status, body: answer } = await agent.request(`/v1/payloads/${id}`, { method: 'PATCH', body });
  assert.equal(status, 200, answer.toString());
}

describe('S5 the answer to the site', { concurrency: 3 }, () => {
  test('S5.2 a machine on which nobody ever registered does not offer itself; then it says what its payloads say', async (t) => {
    const host = await site(t);
    const agent = await startAgent(t, { config: CONFIG + reportTo(host) });
    assert.equal(await answerOf(agent), null);
    assert.deepEqual(fs.readdirSync(path.join(agent.runtimeDir, 'jobstatus')), []);
    assert.equal(await metric(agent, 'mjf_can_terminate'), undefined);

    const first = await sleeper(t, agent, `process.on('SIGINT', () => process.exit(0));`);
    await agent.until('somebody lives', ({ payloads }) => payloads.running === 1);
    assert.deepEqual(await answerOf(agent), { now: false, at: null, must_not_until: null, progress: null });
    await untilOutput(host, 'can_terminate.json', /"now":false/);

    const at = inSecs(600);
    await patch(agent, first, { can_terminate: { now: false, at }, progress: 0.5 });
    assert.deepEqual(await answerOf(agent), { now: false, at, must_not_until: null, progress: 0.5 });
    const second = await sleeper(t, agent);
    await patch(agent, second, { can_terminate: false, needs_secs: 3600, progress: 0.25 });
    const both = await answerOf(agent);
    assert.ok(
      both !== null && both.at !== null && both.at > at && both.at === both.must_not_until,
      JSON.stringify(both),
    );
    assert.equal(both.progress, 0.37);
    assert.equal(agent.file('jobstatus/must_not_terminate_until'), `${both.at}\n`);
    assert.equal((await agent.request('/jobstatus/can_terminate')).body.toString(), '0\n');

    await patch(agent, first, { can_terminate: true });
    await patch(agent, second, { can_terminate: true });
    assert.equal((await answerOf(agent))?.now, true);
    assert.equal(await metric(agent, 'mjf_can_terminate'), 1);
    const told = JSON.parse(await untilOutput(host, 'can_terminate.json', /"now":true/)) as Record<string, unknown>;
    assert.deepEqual(Object.keys(told).sort(), [
      'can_terminate',
      'deadline',
      'job_id',
      'payloads',
      'phase',
      'termination_allowed',
    ]);
    assert.equal(output(host, 'shutdown_message'), undefined, 'nobody has ended yet');
  });

  test('S5.3 the payload’s own word, then one message for all when the last has ended; kept over a dead site and kill -9', async (t) => {
    const host = await site(t);
    const agent = await startAgent(t, { config: CONFIG + reportTo(host) });
    host.fault('*', { is: 'status', status: 503 });
    const banned = await startExec(t, {
      runtimeDir: agent.runtimeDir,
      script: `process.stdin.once('data', () => process.exit(5)); say('ready');`,
    });
    const well = await startExec(t, {
      runtimeDir: agent.runtimeDir,
      script: `process.stdin.once('data', () => process.exit(0)); say('ready');`,
    });
    await registered(agent, 2);
    const rows = JSON.parse((await agent.request('/v1/payloads')).body.toString()) as {
      id: string;
      deliverer_pid: number;
    }[];
    const row = rows.find(({ deliverer_pid }) => deliverer_pid === banned.pid);
    const { status } = await agent.request(`/v1/payloads/${row?.id}/final_word`, {
      method: 'POST',
      body: { code: 400, text: 'banned here' },
    });
    assert.equal(status, 200);
    const put = await agent.request('/joboutputs/pilot.log', { method: 'PUT', body: 'a log' });
    assert.equal(put.status, 201);
    well.child.stdin?.write('go\n');
    banned.child.stdin?.write('go\n');
    assert.deepEqual([await exitCode(well), await exitCode(banned)], [0, 5]);
    await agent.log('report_failed', ({ msg }) => /shutdown_message/.test(msg) || /pilot/.test(msg));
    await agent.until('all have ended', ({ payloads }) => payloads.stopped === 2);
    await agent.kill9();
    host.fault('*', undefined);
    await agent.restart();
    await untilOutput(host, 'shutdown_message', '400 banned here');
    await untilOutput(host, 'pilot.log', /a log/);
  });

  test('Vcycle takes it only with the client certificate', async (t) => {
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-certificates-'));
    t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
    const made = makeCertificates(dir);
    if (typeof made === 'string') return t.skip(made);
    const read = (file: string) => fs.readFileSync(file, 'utf8');
    const tls = { cert: read(made.serverCert), key: read(made.serverKey), ca: read(made.ca) };
    const host = await startMjfHost({ style: 'vcycle', tls });
    t.after(() => host.close());
    const config = `${CONFIG}${reportTo(host)}ca = "${made.ca}"\n`;
    const agent = await startAgent(t, { config: `${config}cert = "${made.clientCert}"\nkey = "${made.clientKey}"\n` });
    const payload = await startExec(t, {
      runtimeDir: agent.runtimeDir,
      script: `say('ready'); setTimeout(() => process.exit(0), 100);`,
    });
    assert.equal(await exitCode(payload), 0);
    await untilOutput(host, 'shutdown_message', '200 Intended work completed');
  });

  test('OneGate hears it, also after its token has changed', async (t) => {
    const host = await startOpennebulaHost();
    t.after(() => host.close());
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-context-'));
    t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
    host.writeContext(dir);
    const running = await startAgent(t, {
      channels: NO_DIRECTORIES,
      config: `${CONFIG}[source.opennebula]\ncontext = "${dir}"\npoll = "500ms"\n`,
    });
    const id = await sleeper(t, running);
    const user = (name: string) => host.userTemplate()[`JOBSTATUS_${name}`];
    await until('not now', () => (user('CAN_TERMINATE') === '0' ? true : undefined));
    host.renewToken();
    host.writeContext(dir);
    await patch(running, id, { can_terminate: true });
    await until('now', () => (user('CAN_TERMINATE') === '1' ? true : undefined));
    const lifetime = await running.lifetime();
    assert.deepEqual(
      Object.keys(lifetime.machinefeatures).filter((key) => /terminate|phase|jobstatus/.test(key)),
      [],
    );
  });

  describe('S5.4 Azure may begin', () => {
    async function scene(t: Ending, script: string) {
      const [azure, host] = await Promise.all([startAzureHost({ name: 'worker-7' }), site(t)]);
      t.after(() => azure.close());
      const agent = await startAgent(t, {
        channels: NO_DIRECTORIES,
        config: `${CONFIG}${reportTo(host)}[source.azure]\nbase_url = "${azure.url}"\npoll = "500ms"\n`,
      });
      const payload = await startExec(t, { runtimeDir: agent.runtimeDir, script });
      await registered(agent, 1);
      return { azure, host, agent, payload };
    }
    const acknowledged = (azure: Awaited<ReturnType<typeof startAzureHost>>) =>
      azure.requests.filter(({ method }) => method === 'POST').map(({ body }) => body);

    test('once the payload has stopped in order, and after the site has the last word', async (t) => {
      const { azure, host, agent, payload } = await scene(t, `hear('SIGTERM', () => process.exit(0)); say('ready');`);
      const id = azure.schedule({ type: 'Preempt', notBeforeMs: Date.now() + 30_000 });
      assert.equal(await exitCode(payload), 75);
      const posts = await until('a POST', () => (acknowledged(azure).length > 0 ? acknowledged(azure) : undefined));
      assert.deepEqual(
        posts.map((body) => JSON.parse(body) as unknown),
        [{ StartRequests: [{ EventId: id }] }],
      );
      assert.equal(output(host, 'shutdown_message'), '100 Shutdown as requested by the host');
      await agent.log('acknowledged');
    });

    test('never after a checkpoint that has failed; the code is 7xx and says why', async (t) => {
      const { azure, host, agent, payload } = await scene(t, `hear('SIGTERM', () => process.exit(3)); say('ready');`);
      azure.schedule({ type: 'Preempt', notBeforeMs: Date.now() + 12_000 });
      assert.equal(await exitCode(payload), 75);
      await untilOutput(host, 'shutdown_message', /^700 .*\b3\b/);
      await agent.until('the deadline is over', ({ overdue }) => overdue === true);
      assert.deepEqual(acknowledged(azure), []);
    });

    test('never for a machine on which nobody registered, nor for others’ sake', async (t) => {
      const { azure, agent, payload } = await scene(t, `hear('SIGTERM', () => process.exit(0)); say('ready');`);
      azure.schedule({ type: 'Preempt', notBeforeMs: Date.now() + 10_000, resources: ['worker-7', 'worker-8'] });
      assert.equal(await exitCode(payload), 75);
      await agent.until('the deadline is over', ({ overdue }) => overdue === true);
      assert.deepEqual(acknowledged(azure), []);
    });
  });
});
