/**
 * Issue 2, "Bad input", from a Machine/Job Features server: what is no value, what is no answer, and who is not there. The
 * last good value stands, the fault is visible, nothing else happens. Against the built program.
 */
import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import { type MjfHost, startMjfHost } from '../hosts/mjf.ts';
import type { Fault } from '../hosts/mjf-faults.ts';
import { inSecs, startAgent, type TestAgent } from '../support/agent.ts';
import { FOLDERS } from '../support/host-directories.ts';
import {
  assertKeyFaultsAreHarmless,
  assertSourceFailureIsHarmless,
  JOB,
  LATER,
  MACHINE,
  MEGABYTE,
  NO_TIMES,
} from './bad-input.ts';
import { assertFacesAgree, furtherReads, withoutSources } from './faces.ts';

const TIME_KEYS = [
  ['machine', 'shutdowntime'],
  ['job', 'shutdowntime_job'],
  ['job', 'jobstart_secs'],
] as const;

describe('bad input from a server', { concurrency: true }, () => {
  test('mjf: an answer that is no value costs a log line and a counter', async (t) => {
    const deadline = inSecs(7200);
    const { agent, host } = await startOnServer(t, deadline);
    const answers: readonly (readonly [name: string, error: string, fault: Fault])[] = [
      ...NO_TIMES.map(([name, error, text]) => [name, error, { is: 'bytes', bytes: Buffer.from(text) }] as const),
      ['1 MB of garbage', 'too_large', { is: 'bytes', bytes: Buffer.alloc(MEGABYTE, '7') }],
      ['HTTP 500', 'http_500', { is: 'status', status: 500, body: String(LATER) }],
      ['HTTP 403', 'http_403', { is: 'status', status: 403 }],
      ['HTTP 204', 'http_204', { is: 'status', status: 204 }],
      ['a web page', 'html', { is: 'html' }],
      ['an empty body', 'empty', { is: 'empty' }],
      ['a slow drip', 'timeout', { is: 'drip' }],
      ['an endless body', 'too_large', { is: 'endless' }],
      ['a redirect to a later time', 'http_302', { is: 'redirect', to: '/machinefeatures/elsewhere' }],
      ['silence', 'timeout', { is: 'hang' }],
      ['a reset', 'reset', { is: 'reset' }],
      ['less than was announced', 'protocol', { is: 'short-body' }],
      ['chunks of nonsense', 'protocol', { is: 'bad-chunks' }],
    ];
    // Three at a time, each on a key that is a time.
    for (let first = 0; first < answers.length; first += TIME_KEYS.length) {
      const cases = answers.slice(first, first + TIME_KEYS.length).map(([name, error, fault], index) => {
        const [side, key] = TIME_KEYS[index % TIME_KEYS.length] ?? TIME_KEYS[0];
        const path = `${FOLDERS[side]}/${key}`;
        const spoil = () => host.fault(path, fault);
        return { name, key: `${side}/${key}`, error, spoil, mend: () => host.fault(path, undefined) };
      });
      await assertKeyFaultsAreHarmless(agent, 'mjf', cases, () => readAgain(agent, host));
    }
    const followed = host.requests.filter((request) => request.path.endsWith('/elsewhere'));
    assert.deepEqual(followed, [], 'a redirect is not followed');
    assert.deepEqual(await agent.stop(), { code: 0, signal: null });
  });

  test('mjf: a server that fails as a whole clears nothing', async (t) => {
    const { agent, host, machine, job } = await startOnServer(t, inSecs(7200), '400ms');
    const failures: readonly (readonly [name: string, error: string, fault: Fault])[] = [
      ['HTTP 503 for everything', 'http_503', { is: 'status', status: 503 }],
      ['a captive portal', 'html', { is: 'html' }],
      ['a hang', 'timeout', { is: 'hang' }],
      ['a reset of every connection', 'reset', { is: 'reset' }],
    ];
    for (const [name, error, fault] of failures) {
      await assertSourceFailureIsHarmless(agent, 'mjf', {
        name,
        error,
        spoil: () => host.fault('*', fault),
        mend: () => host.fault('*', undefined),
        readAgain: () => furtherReads(agent, 'mjf', 2),
      });
    }
    let back: MjfHost | undefined;
    t.after(() => back?.close());
    await assertSourceFailureIsHarmless(agent, 'mjf', {
      name: 'nobody there',
      error: 'refused',
      spoil: () => host.close(),
      async mend() {
        back = await startMjfHost({ port: host.port, machine: texts(machine), job: texts(job) });
      },
      readAgain: () => furtherReads(agent, 'mjf', 2),
    });
  });

  test('mjf: 404 for everything, longer than an absence takes, is unknown, not cleared (S1.6)', async (t) => {
    const { agent, host } = await startOnServer(t, inSecs(7200), '500ms');
    const before = await agent.lifetime();
    host.fault('*', { is: 'status', status: 404 });
    await agent.until('noticed', ({ sources }) => sources.some(({ error }) => error === 'all_gone'));
    // Far more than three, over more than three seconds.
    await furtherReads(agent, 'mjf', 8);
    assert.deepEqual(withoutSources(await assertFacesAgree(agent)), withoutSources(before));
  });
});

type Values = Readonly<Record<string, string | number>>;
const texts = (values: Values): Record<string, string> =>
  Object.fromEntries(Object.entries(values).map(([key, value]) => [key, String(value)]));

async function startOnServer(
  t: Parameters<typeof startAgent>[0],
  deadline: number,
  poll = '200ms',
): Promise<{ readonly agent: TestAgent; readonly host: MjfHost; readonly machine: Values; readonly job: Values }> {
  const machine = { ...MACHINE, shutdowntime: deadline };
  const job = { ...JOB, shutdowntime_job: deadline, jobstart_secs: inSecs(-3600) };
  const host = await startMjfHost({ machine: texts(machine), job: texts(job) });
  t.after(() => host.close());
  const agent = await startAgent(t, {
    // One request of a round may take 0.4 of the round's time.
    config: `[source.mjf]\npoll = "${poll}"\ntimeout = "2s"\n`,
    channels: ['--machinefeatures', `${host.url}/machinefeatures`, '--jobfeatures', `${host.url}/jobfeatures`],
  });
  // Ready means asked, and on a busy machine the first answer may have come too late.
  await agent.log('notice_new');
  await agent.until(
    'all is well',
    (each) => each.deadline === deadline && each.sources.some(({ name, state }) => name === 'mjf' && state === 'ok'),
  );
  return { agent, host, machine, job };
}

let marks = 0;
async function readAgain(agent: TestAgent, host: MjfHost): Promise<void> {
  marks += 1;
  const mark = String(marks);
  host.set('machine', 'test_mark', mark);
  await agent.until(`mark ${mark}`, ({ machinefeatures }) => machinefeatures['test_mark']?.value === mark);
}
