import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import fc from 'fast-check';
import pino from 'pino';
import { systemClock } from '../../agent/clock.ts';
import type { Answer, Observation, Reading, StatedNotice } from '../../agent/lifetime/types.ts';
import { startDriver } from '../../agent/sources/driver.ts';
import { type MachineFacts, NO_FACTS } from '../../agent/sources/facts.ts';
import { type OpennebulaConfig, opennebulaSource } from '../../agent/sources/opennebula.ts';
import { parseContext } from '../../agent/sources/opennebula-context.ts';
import { type Source, type SourceEnvironment, SourceError, type TraceEntry } from '../../agent/sources/source.ts';
import { makeCertificates } from '../hosts/certificates.ts';
import type { Fault } from '../hosts/metadata-host.ts';
import { contextText, type OpennebulaHost, startOpennebulaHost } from '../hosts/opennebula.ts';
import { history, MINUTE, payload, SECOND, START, source as sourceInfo } from '../lifetime/history.ts';
import { codeOf, present, read, values } from './answers.ts';
import { sourceEnvironment } from './environment.ts';

/** Longer than a stand-in under load takes. */
const TIMEOUT = '1500ms';

let cleanups: (() => unknown)[] = [];
let root = '';
beforeEach(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-opennebula-'));
  cleanups = [() => fs.rmSync(root, { recursive: true, force: true })];
});
afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});

const contextDir = () => path.join(root, 'context');

/** A server, and the context of a machine of it. */
async function host(context: Readonly<Record<string, string>> = {}): Promise<OpennebulaHost> {
  const started = await startOpennebulaHost();
  cleanups.push(() => started.close());
  started.writeContext(contextDir(), context);
  return started;
}

function sourceOf(config: OpennebulaConfig = {}, environment: Partial<SourceEnvironment> = {}): Source {
  const [source] = opennebulaSource.create(
    { context: contextDir(), timeout: TIMEOUT, ...config },
    sourceEnvironment({ root, ...environment }),
  );
  assert.ok(source);
  cleanups.push(() => source.close?.());
  return source;
}

/** What is said of the notice; where OneGate fails before it has ever spoken, the mark of that. */
const lcm = ({ notices }: Answer): Reading<StatedNotice> | undefined =>
  notices?.byId['lcm-state'] ?? notices?.byId['@onegate'];
/** What OneGate saw. */
const gets = (server: OpennebulaHost) => server.requests.filter(({ method }) => method === 'GET');

describe('context.sh', () => {
  const parsed = (text: string) => Object.fromEntries(parseContext(text));
  const ROWS: readonly (readonly [what: string, text: string, variables: Readonly<Record<string, string>>])[] = [
    [
      'a comment and values in single quotes',
      "# Context variables\nA='1'\nB='two words'\n",
      { A: '1', B: 'two words' },
    ],
    ['a quote within', "A='it'\\''s'\nB=''\\'''\\'''", { A: "it's", B: "''" }],
    ['a value over lines', "A='one\n# two\nB=3'\nC='4'", { A: 'one\n# two\nB=3', C: '4' }],
    [
      'export, double quotes, no quotes',
      'export A="a b"\nexport B=c D="e"\nF=g#h',
      { A: 'a b', B: 'c', D: 'e', F: 'g#h' },
    ],
    ['what double quotes escape and what not', 'A="\\"\\\\\\$x\\n"', { A: '"\\$x\\n' }],
    ['lines that are joined', 'A=one\\\ntwo\nB="three\\\nfour"', { A: 'onetwo', B: 'threefour' }],
    ['CRLF and a byte order mark', "\ufeffA='1'\r\nB=2\r\nC='x\r\ny'\r\n", { A: '1', B: '2', C: 'x\ny' }],
    ['blanks, semicolons, comments behind', "  A=1 ; B='2' # C=3\n\tD=4;", { A: '1', B: '2', D: '4' }],
    ['the last of two', "A='1'\nA='2'", { A: '2' }],
    ['an empty value', 'A=\nB=\'\'\nC=""', { A: '', B: '', C: '' }],
    [
      'what a shell would expand stays text',
      'A=\'$(touch /tmp/x)\'\nB="`id` $HOME"\nC=$(id)',
      { A: '$(touch /tmp/x)', B: '`id` $HOME', C: '$(id)' },
    ],
    [
      'what is no assignment is passed over',
      "set -e\nif true; then\nA='1'\nfi\nB=2 command\n'C=3'\n=4\n1X=5\nD =6\nE=7",
      { A: '1', E: '7' },
    ],
    ['nothing', '', {}],
  ];
  for (const [what, text, variables] of ROWS) it(what, () => assert.deepEqual(parsed(text), variables));

  for (const [what, text, line] of [
    ['single', "A='1'\nB='2\nC=3", 2],
    ['double', 'A=1\n\nB="2', 3],
  ] as const)
    it(`a ${what} quote without end is an error that names the line`, () => {
      assert.throws(
        () => parsed(text),
        (error) => {
          assert.ok(error instanceof SourceError);
          assert.deepEqual([error.code, error.message], ['bad_context', `line ${line}: a quote that does not end`]);
          return true;
        },
      );
    });

  it('variables without end are an error', () => {
    const text = Array.from({ length: 5000 }, (_, index) => `A${index}=1`).join('\n');
    assert.throws(() => parsed(text), /more than 1024/);
  });

  it('gives back what OpenNebula writes, whatever the values are', () => {
    const name = fc.stringMatching(/^[A-Z_][A-Z0-9_]{0,9}$/);
    const value = fc.string({ unit: fc.constantFrom("'", '"', '\\', '\n', '$', ' ', '=', '#', ';', 'x') });
    fc.assert(
      fc.property(fc.dictionary(name, value), (variables) => {
        assert.deepEqual({ ...parsed(contextText(variables)) }, { ...variables });
      }),
    );
  });

  it('takes any text in its stride, in linear time', () => {
    const part = fc.constantFrom(
      "'",
      '"',
      '\\',
      '\n',
      '\r',
      '$(',
      'A=',
      'export ',
      ' ',
      ';',
      '#',
      'x'.repeat(50),
      '\0',
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 200 }), (parts) => {
        try {
          parsed(parts.join(''));
        } catch (error) {
          assert.ok(error instanceof SourceError);
        }
      }),
    );
    assert.deepEqual(Object.keys(parsed(`${'x '.repeat(120_000)}\nA=1`)), ['A']);
  });
});

describe('the context', () => {
  it('gives known keys in any case, marked ones and the pointers, and one-VMID as job_id; the rest is nobody’s business', async () => {
    await host({
      MACHINEFEATURES: 'http://10.0.0.1/machinefeatures/',
      JOBFEATURES: '/mnt/jobfeatures',
      SHUTDOWNTIME: '1766440000',
      MJF_SITE: 'CERN',
      WALL_LIMIT_SECS: '86400',
      PASSWORD: 'secret',
      ONEGATE_ENDPOINT: '',
    });
    const answer = await read(sourceOf());
    assert.deepEqual(values(answer), { shutdowntime: '1766440000', mjf_site: 'CERN' });
    assert.deepEqual(values(answer, 'job'), { wall_limit_secs: '86400' });
    assert.deepEqual(answer.pointers, {
      machinefeatures: 'http://10.0.0.1/machinefeatures',
      jobfeatures: '/mnt/jobfeatures',
    });
    assert.deepEqual(answer.derived?.job, { job_id: present('one-17') });
    assert.doesNotMatch(JSON.stringify(answer), /secret|ssh-ed25519|token/i);
  });

  it('is never executed', async () => {
    const witness = path.join(root, 'witness');
    fs.mkdirSync(contextDir());
    const evil = `A="$(touch ${witness})"\nB=\`touch ${witness}\`\ntouch ${witness}\nTOTAL_CPU='8'\n`;
    fs.writeFileSync(path.join(contextDir(), 'context.sh'), evil);
    assert.deepEqual(values(await read(sourceOf())), { total_cpu: '8' });
    assert.equal(fs.existsSync(witness), false);
  });

  it('may be a file, and may be what a root helper has copied from the ISO image', async () => {
    await host({ TOTAL_CPU: '8' });
    assert.deepEqual(values(await read(sourceOf({ context: path.join(contextDir(), 'context.sh') }))), {
      total_cpu: '8',
    });
    fs.mkdirSync(path.join(root, 'run/mjf-agent-drive'), { recursive: true });
    fs.renameSync(contextDir(), path.join(root, 'run/mjf-agent-drive/CONTEXT'));
    const [source] = opennebulaSource.create({}, sourceEnvironment({ root }));
    assert.ok(source);
    cleanups.push(() => source.close?.());
    assert.deepEqual(values(await read(source)), { total_cpu: '8' });
  });

  it('that is garbage is bad_context, until it is repaired', async () => {
    await host({ TOTAL_CPU: '8' });
    const file = path.join(contextDir(), 'context.sh');
    const good = fs.readFileSync(file);
    fs.writeFileSync(file, "TOTAL_CPU='4\n");
    const source = sourceOf();
    assert.equal(await codeOf(read(source)), 'bad_context');
    fs.writeFileSync(file, good);
    assert.deepEqual(values(await read(source)), { total_cpu: '8' });
  });

  it('is nowhere: no_context, until udev has come to the drive and a root helper has copied it', async () => {
    const [source] = opennebulaSource.create({}, sourceEnvironment({ root }));
    assert.ok(source);
    cleanups.push(() => source.close?.());
    assert.equal(await codeOf(read(source)), 'no_context');
    await host({ TOTAL_CPU: '8' });
    fs.mkdirSync(path.join(root, 'run/mjf-agent-drive'), { recursive: true });
    fs.renameSync(contextDir(), path.join(root, 'run/mjf-agent-drive/CONTEXT'));
    assert.deepEqual(values(await read(source)), { total_cpu: '8' });
  });
});

describe('OneGate', () => {
  it('is asked for /vm with number and token of the context, neither of which shows in what is told of it', async () => {
    const server = await host();
    const entries: TraceEntry[] = [];
    const answer = await read(sourceOf({}, { trace: (entry) => entries.push(entry) }));
    assert.deepEqual(lcm(answer), { is: 'negative' });
    const [request] = gets(server);
    assert.equal(request?.path, '/vm');
    assert.equal(request?.headers['x-onegate-vmid'], '17');
    assert.equal(request?.headers['x-onegate-token'], server.token());
    assert.deepEqual(entries.map(({ asked, answered }) => `${asked} ${answered}`).sort(), [
      `GET ${server.url}/vm 200`,
      `drive ${contextDir()} present`,
    ]);
    assert.ok(!JSON.stringify([entries, answer]).includes(server.token()));
  });

  const STATES: readonly (readonly [state: number | string, name: string | undefined])[] = [
    [12, 'SHUTDOWN'],
    [18, 'SHUTDOWN_POWEROFF'],
    [29, 'SHUTDOWN_UNDEPLOY'],
    [0, undefined],
    [3, undefined],
    [2, undefined],
    [17, undefined],
    [25, undefined],
    [62, undefined],
    [999, undefined],
  ];
  for (const [state, name] of STATES)
    it(`LCM_STATE ${state} ${name === undefined ? 'announces nothing' : `(${name}) is a shutdown in a minute`}`, async () => {
      const server = await host();
      server.lcmState(state);
      assert.deepEqual(
        lcm(await read(sourceOf())),
        name === undefined
          ? { is: 'negative' }
          : {
              is: 'present',
              value: { kind: 'shutdown', deadlineMs: null, minimumNoticeMs: MINUTE, reason: `OpenNebula ${name}` },
            },
      );
    });

  it('how long a shutdown takes at least can be configured', async () => {
    const server = await host();
    server.lcmState(12);
    const notice = lcm(await read(sourceOf({ minimum_notice: '150s' })));
    assert.equal(notice?.is === 'present' && notice.value.minimumNoticeMs, 150_000);
  });

  for (const state of [undefined, '', 'SHUTDOWN', '12x', '-1'])
    it(`LCM_STATE ${JSON.stringify(state)} is unknown, and the user template counts all the same`, async () => {
      const server = await host();
      server.lcmState(state);
      server.user('TOTAL_CPU', '8');
      const answer = await read(sourceOf());
      assert.deepEqual(lcm(answer), { is: 'unknown', error: 'no_lcm_state' });
      assert.deepEqual(values(answer), { total_cpu: '8' });
    });

  it('gives keys of the user template, which count before the context’s; what is nested there is not ours', async () => {
    const server = await host({ TOTAL_CPU: '8', HS06: '10' });
    server.user('TOTAL_CPU', '4');
    server.user('SHUTDOWNTIME', '1766440000');
    server.user('MACHINEFEATURES', 'http://ten/');
    server.user('GRACE_SECS', { SHUTDOWNTIME: '1' });
    server.user('PASSWORD', 'secret');
    const source = sourceOf();
    const answer = await read(source);
    assert.deepEqual(values(answer), { total_cpu: '4', hs06: '10', shutdowntime: '1766440000' });
    assert.deepEqual(answer.pointers, { machinefeatures: 'http://ten' });
    assert.doesNotMatch(JSON.stringify(answer), /secret/);
    server.user('TOTAL_CPU', undefined);
    server.user('SHUTDOWNTIME', undefined);
    const later = await read(source);
    assert.deepEqual(
      [later.machine?.keys['total_cpu'], later.machine?.keys['shutdowntime']],
      [present('8'), { is: 'absent' }],
    );
  });

  it('401: the token is read again, once, and sent alone', async () => {
    const server = await host();
    const source = sourceOf();
    await read(source);
    server.renewToken();
    server.writeContext(contextDir());
    const answer = await read(source);
    assert.deepEqual(lcm(answer), { is: 'negative' });
    assert.equal(gets(server).length, 3);
    assert.equal(gets(server).at(-1)?.headers['x-onegate-token'], server.token());
  });

  it('401 with the token that the context still has: one question and http_401, until the context has the new one', async () => {
    const server = await host();
    const source = sourceOf();
    await read(source);
    server.renewToken();
    const first = gets(server).length;
    assert.equal(await codeOf(read(source)), 'http_401');
    assert.equal(gets(server).length - first, 1);
    server.writeContext(contextDir());
    assert.deepEqual(lcm(await read(source)), { is: 'negative' });
  });

  it('401 again with a new token: two questions and http_401', async () => {
    const server = await host();
    const source = sourceOf();
    await read(source);
    server.renewToken();
    fs.writeFileSync(path.join(contextDir(), 'token.txt'), 'another-that-is-wrong');
    const first = gets(server).length;
    assert.equal(await codeOf(read(source)), 'http_401');
    assert.equal(gets(server).length - first, 2);
  });

  const BAD: readonly (readonly [what: string, spoil: (server: OpennebulaHost) => void, code: string])[] = [
    [
      '404, which the server also gives when the front-end does not answer it',
      (one) => one.setFrontEnd(false),
      'http_404',
    ],
    ['403', (one) => one.restrict(true), 'http_403'],
    ['500', (one) => one.fault('/vm', { is: 'status', status: 500 }), 'http_500'],
    ['503', (one) => one.fault('/vm', { is: 'status', status: 503 }), 'http_503'],
    ['429', (one) => one.fault('/vm', { is: 'status', status: 429 }), 'http_429'],
    ['a web page', (one) => one.fault('/vm', { is: 'html' }), 'bad_json'],
    ['half a document', (one) => one.fault('/vm', body('{"VM":{"LCM_STATE":"3"')), 'bad_json'],
    ['an empty body', (one) => one.fault('/vm', { is: 'empty' }), 'bad_json'],
    ['a document without VM', (one) => one.fault('/vm', body('{"vm":{}}')), 'bad_document'],
    ['another machine’s document', (one) => one.answerFor('18'), 'other_vm'],
    ['a broken connection', (one) => one.fault('/vm', { is: 'reset' }), 'reset'],
    ['silence', (one) => one.fault('/vm', { is: 'hang' }), 'timeout'],
  ];
  const body = (text: string): Fault => ({ is: 'bytes', bytes: Buffer.from(text) });
  for (const [what, spoil, code] of BAD)
    it(`${what} is ${code}: it clears nothing, and passes`, async () => {
      const server = await host();
      server.setClockOffset(START - Date.now());
      const heart = history({ sources: [sourceInfo('opennebula', 'platform', 30_000)] });
      const source = sourceOf({ timeout: '300ms' });
      const tell = async (): Promise<void> => {
        const observation: Observation = await source
          .read({ signal: new AbortController().signal, fresh: true, patient: true })
          .then(
            (result) => ({ source: 'opennebula', ...result }),
            (error: SourceError) => ({
              source: 'opennebula',
              outcome: 'failed',
              error: error.code,
              detail: error.message,
            }),
          );
        heart.send({ type: 'observation', observation });
      };
      server.lcmState(12);
      await tell();
      assert.equal(heart.notice('opennebula/lcm-state').deadlineMs, START + MINUTE);
      spoil(server);
      for (let round = 0; round < 4; round += 1) {
        heart.pass(2 * SECOND);
        await tell();
      }
      assert.equal(heart.notice('opennebula/lcm-state').deadlineMs, START + MINUTE);
      assert.equal(heart.sourceState('opennebula')?.error, code);
      server.fault('/vm', undefined);
      server.setFrontEnd(true);
      server.restrict(false);
      server.answerFor('17');
      server.lcmState(3);
      await tell();
      assert.deepEqual(heart.noticeIds(), []);
    });

  it('that is dead leaves the context in force, and nobody knows whether the machine is to go', async () => {
    const server = await host({ TOTAL_CPU: '8' });
    await server.close();
    const answer = await read(sourceOf());
    assert.deepEqual(values(answer), { total_cpu: '8' });
    assert.deepEqual(lcm(answer), { is: 'unknown', error: 'refused' });
  });

  it('that came to know the context first does not keep the context’s keys from being told', async () => {
    const server = await host({ HS06: '87.5' });
    const source = sourceOf();
    server.fault('/vm', { is: 'status', status: 503 });
    // An answer to the site reads the context, as OneGate's own part does where it is asked sooner again.
    await source.back?.tell?.({ can_terminate: '1' }, new AbortController().signal).catch(() => undefined);
    assert.deepEqual(values(await read(source)), { hs06: '87.5' });
  });

  it('that dies later is a dead platform, although the context is at hand', async () => {
    const server = await host({ TOTAL_CPU: '8' });
    const source = sourceOf();
    await read(source);
    await server.close();
    assert.equal(await codeOf(read(source)), 'refused');
  });

  it('is not asked where the context does not name it, and the context is a good answer each time', async () => {
    const server = await host({ TOTAL_CPU: '8', ONEGATE_ENDPOINT: '' });
    const source = sourceOf();
    for (let round = 0; round < 3; round += 1) {
      const { notices } = await read(source);
      assert.ok(Object.values(notices?.byId ?? {}).every(({ is }) => is !== 'unknown'));
    }
    assert.equal(server.requests.length, 0);
  });

  it('is where the configuration says, before what the context says', async () => {
    const server = await host({ ONEGATE_ENDPOINT: 'http://127.0.0.1:1/' });
    assert.deepEqual(lcm(await read(sourceOf({ base_url: `${server.url}/` }))), { is: 'negative' });
  });

  for (const [what, change, code] of [
    ['no token.txt', () => fs.rmSync(path.join(contextDir(), 'token.txt')), 'no_token'],
    ['a token that is no header', () => fs.writeFileSync(path.join(contextDir(), 'token.txt'), 'a\nb'), 'no_token'],
  ] as const)
    it(`${what}: ${code}, and OneGate is not asked`, async () => {
      const server = await host();
      change();
      assert.deepEqual(lcm(await read(sourceOf())), { is: 'unknown', error: code });
      assert.equal(server.requests.length, 0);
    });

  it('a context without VMID: no_vmid', async () => {
    await host({ VMID: 'seventeen' });
    const answer = await read(sourceOf());
    assert.deepEqual(lcm(answer), { is: 'unknown', error: 'no_vmid' });
    assert.equal(answer.derived, undefined);
  });

  it('the token may stand in the context where there is no drive to put it on', async () => {
    const server = await host();
    server.writeContext(contextDir(), { ONEGATE_TOKEN: server.token() });
    fs.rmSync(path.join(contextDir(), 'token.txt'));
    assert.deepEqual(lcm(await read(sourceOf())), { is: 'negative' });
  });

  it('over https, with the site’s own authority and with no other', async (t) => {
    const made = makeCertificates(root);
    if (typeof made === 'string') return t.skip(made);
    const server = await host();
    const secure = https.createServer(
      { cert: fs.readFileSync(made.serverCert), key: fs.readFileSync(made.serverKey) },
      ({ url, headers }, response) => {
        http.get(`${server.url}${url}`, { headers }, (answer) => {
          response.writeHead(answer.statusCode ?? 500, answer.headers);
          answer.pipe(response);
        });
      },
    );
    await new Promise<void>((resolve) => secure.listen(0, '127.0.0.1', resolve));
    cleanups.push(
      () => secure.closeAllConnections(),
      () => secure.close(),
    );
    const endpoint = `https://127.0.0.1:${(secure.address() as AddressInfo).port}`;
    server.writeContext(contextDir(), { ONEGATE_ENDPOINT: endpoint });
    assert.deepEqual(lcm(await read(sourceOf({ ca: made.ca }))), { is: 'negative' });
    assert.deepEqual(lcm(await read(sourceOf({ ca: made.otherCa }))), { is: 'unknown', error: 'tls' });
    assert.deepEqual(lcm(await read(sourceOf())), { is: 'unknown', error: 'tls' });
    const lost = lcm(await read(sourceOf({ ca: path.join(root, 'none.pem') })));
    assert.deepEqual(lost, { is: 'unknown', error: 'tls_file' });
  });

  it('what others put into the user template stays as it is', async () => {
    const server = await host();
    const headers = { 'X-ONEGATE-TOKEN': server.token(), 'X-ONEGATE-VMID': '17' };
    const put = http.request(`${server.url}/vm`, { method: 'PUT', headers });
    const status = new Promise((resolve) => put.once('response', ({ statusCode }) => resolve(statusCode)));
    put.end('READY = "YES"\n');
    assert.equal(await status, 200);
    await read(sourceOf());
    assert.equal(server.userTemplate()['READY'], 'YES');
    assert.equal(server.requests.filter(({ method }) => method !== 'GET').length, 1);
  });
});

describe('in the heart', () => {
  const OPENNEBULA = sourceInfo('opennebula', 'platform', 30_000);

  it('a shutdown stops the payloads within its minute, is one notice however often it is told, and RUNNING ends it at once', async () => {
    const server = await host();
    server.setClockOffset(START - Date.now());
    const heart = history({ sources: [OPENNEBULA] });
    const source = sourceOf();
    const tell = async () =>
      heart.send({
        type: 'observation',
        observation: { source: 'opennebula', outcome: 'answer', answer: await read(source) },
      });
    await tell();
    heart.register(payload('job'));
    assert.equal(heart.job('job_id'), 'one-17');
    assert.equal(heart.phase(), 'running');
    server.lcmState(12);
    await tell();
    assert.equal(heart.snapshot().deadlineMs, START + MINUTE);
    assert.equal(heart.phase(), 'stopping');
    heart.pass(30 * SECOND);
    server.lcmState('18');
    await tell();
    assert.equal(heart.snapshot().deadlineMs, START + MINUTE);
    assert.deepEqual(heart.noticeIds(), ['opennebula/lcm-state']);
    assert.equal(heart.sentTo('job'), 'SIGTERM@0');
    server.lcmState(3);
    await tell();
    assert.equal(heart.snapshot().deadlineMs, null);
    assert.equal(heart.phase(), 'running');
  });

  it('through the driver: each 30 s, and at once when asked', async () => {
    const server = await host();
    const seen: Observation[] = [];
    const driver = startDriver(sourceOf(), {
      emit: (observation) => void seen.push(observation),
      log: pino({ level: 'silent' }),
      clock: systemClock,
      count: () => undefined,
    });
    cleanups.push(() => driver.stop());
    await driver.pollNow();
    server.lcmState(29);
    await driver.pollNow();
    const last = seen.at(-1);
    assert.ok(last?.outcome === 'answer');
    assert.equal(lcm(last.answer)?.is, 'present');
    assert.equal(driver.info().pollMs, 30_000);
  });
});

describe('detection', () => {
  const ROWS: readonly (readonly [sign: string, facts: Partial<MachineFacts>])[] = [
    ['sys_vendor is "OpenNebula"', { dmi: { sys_vendor: 'OpenNebula' } }],
    ['product_name is "OpenNebula KVM"', { dmi: { sys_vendor: 'QEMU', product_name: 'OpenNebula KVM' } }],
    ['a device is labelled "CONTEXT"', { labels: ['root', 'CONTEXT'] }],
    ['cloud-init says "opennebula"', { cloudId: 'opennebula' }],
    ['cloud-init says "nebula"', { cloudId: 'nebula' }],
  ];
  for (const [sign, facts] of ROWS)
    it(sign, () => assert.equal(opennebulaSource.detect?.({ ...NO_FACTS, ...facts }), sign));

  it('nothing elsewhere', () => {
    for (const facts of [
      { dmi: { sys_vendor: 'OpenStack Foundation' } },
      { labels: ['config-2', 'cidata', 'CONTEXTS'] },
      { cloudId: 'openstack' },
    ])
      assert.equal(opennebulaSource.detect?.({ ...NO_FACTS, ...facts }), undefined);
  });
});
