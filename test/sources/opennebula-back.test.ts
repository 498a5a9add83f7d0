/** OpenNebula's way back: `PUT /vm` on OneGate. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import fc from 'fast-check';
import type { Answer } from '../../agent/lifetime/types.ts';
import { type OpennebulaConfig, opennebulaSource } from '../../agent/sources/opennebula.ts';
import { templateLines } from '../../agent/sources/opennebula-template.ts';
import { type Source, SourceError } from '../../agent/sources/source.ts';
import { type OpennebulaHost, parseTemplate, startOpennebulaHost } from '../hosts/opennebula.ts';
import { sourceEnvironment } from './environment.ts';

let cleanups: (() => unknown)[] = [];
let root = '';
beforeEach(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-opennebula-back-'));
  cleanups = [() => fs.rmSync(root, { recursive: true, force: true })];
});
afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});

const contextDir = () => path.join(root, 'context');

async function hostWith(context: Readonly<Record<string, string>> = {}): Promise<OpennebulaHost> {
  const host = await startOpennebulaHost();
  cleanups.push(() => host.close());
  host.writeContext(contextDir(), context);
  return host;
}

function sourceOf(config: OpennebulaConfig = {}): Source {
  const [source] = opennebulaSource.create({ context: contextDir(), ...config }, sourceEnvironment({ root }));
  assert.ok(source);
  cleanups.push(() => source.close?.());
  return source;
}

const SIGNAL = new AbortController().signal;

async function read(source: Source): Promise<Answer> {
  const result = await source.read({ signal: SIGNAL, fresh: true, patient: true });
  assert.ok(result.outcome === 'answer');
  return result.answer;
}

/** Undefined: it was taken. */
async function tell(
  source: Source,
  values: Readonly<Record<string, string | null>>,
  signal = SIGNAL,
): Promise<string | undefined> {
  try {
    await source.back?.tell?.(values, signal);
    return undefined;
  } catch (error) {
    if (error instanceof SourceError) return error.code;
    throw error;
  }
}

const puts = (host: OpennebulaHost) => host.requests.filter(({ method }) => method === 'PUT');
const told = (host: OpennebulaHost) =>
  Object.fromEntries(Object.entries(host.userTemplate()).filter(([name]) => name.startsWith('JOBSTATUS_')));

describe('opennebula: lines of a template', () => {
  it('one a value, in capitals and quotes; null is the empty text', () => {
    assert.equal(
      templateLines({ can_terminate: '1', progress: null }),
      'JOBSTATUS_CAN_TERMINATE = "1"\nJOBSTATUS_PROGRESS = ""\n',
    );
  });

  for (const [row, value, line] of [
    ['quotes', 'say "yes"', '"say \\"yes\\""'],
    ['a backslash, which is no escape by itself', 'C:\\new', '"C:\\new"'],
    ['a backslash before a quote', 'a\\"b', '"a\\\\"b"'],
    ['a backslash at the end, which would open the next line', 'C:\\', '"C:\\ "'],
    ['what ends the XML that it is kept in', 'a]]>b', '"a]] >b"'],
    ['names and values of others', 'x" \\nEVIL = "1', '"x\\" \\nEVIL = \\"1"'],
  ] as const)
    it(`${row}`, () => assert.equal(templateLines({ a: value }), `JOBSTATUS_A = ${line}\n`));

  it('whatever a payload says, the front-end reads these names and no others, and what was said but for a blank', () => {
    const text = fc
      .array(fc.constantFrom('"', '\\', ']]>', ' ', '=', '#', 'EVIL', ',', '[', ']', '$(id)', '`', 'ä', "'"), {
        maxLength: 12,
      })
      .map((pieces) => pieces.join(''));
    fc.assert(
      fc.property(text, text, (a, b) => {
        const pairs = parseTemplate(templateLines({ a, b }));
        const bare = (value: string) => value.replaceAll(' ', '');
        assert.deepEqual(
          pairs?.map(([name, value]) => [name, bare(value)]),
          [
            ['JOBSTATUS_A', bare(a)],
            ['JOBSTATUS_B', bare(b)],
          ],
        );
      }),
      { numRuns: 200 },
    );
  });
});

describe('opennebula: what the machine tells', () => {
  it('one PUT of all values, with the machine’s number and token; what else stands there stays', async () => {
    const host = await hostWith();
    const source = sourceOf();
    assert.equal(await tell(source, { can_terminate: '1', shutdown_message: '200 "done"', progress: null }), undefined);
    assert.deepEqual(told(host), {
      JOBSTATUS_CAN_TERMINATE: '1',
      JOBSTATUS_SHUTDOWN_MESSAGE: '200 "done"',
      JOBSTATUS_PROGRESS: '',
    });
    const [put, ...more] = host.requests;
    assert.deepEqual(more, []);
    assert.equal(`${put?.method} ${put?.path}`, 'PUT /vm');
    assert.equal(put?.headers['x-onegate-vmid'], host.vmId);
    assert.equal(put?.headers['x-onegate-token'], host.token());
    assert.equal(host.userTemplate()['LOGO'], 'images/logos/debian.png');
  });

  it('nothing to tell asks nobody', async () => {
    const host = await hostWith();
    assert.equal(await tell(sourceOf(), {}), undefined);
    assert.deepEqual(host.requests, []);
  });

  it('a token that was renewed is read from the context again', async () => {
    const host = await hostWith();
    const source = sourceOf();
    await read(source);
    host.renewToken();
    host.writeContext(contextDir());
    assert.equal(await tell(source, { can_terminate: '1' }), undefined);
    assert.equal(puts(host).length, 2);
    assert.deepEqual(told(host), { JOBSTATUS_CAN_TERMINATE: '1' });
  });

  it('a token that nobody told the machine is http_401, asked once; and when it is told, it is taken', async () => {
    const host = await hostWith();
    const source = sourceOf();
    host.renewToken();
    fs.writeFileSync(path.join(contextDir(), 'token.txt'), 'another\n');
    assert.equal(await tell(source, { can_terminate: '1' }), 'http_401');
    assert.equal(puts(host).length, 1);
    host.writeContext(contextDir());
    assert.equal(await tell(source, { can_terminate: '1' }), undefined);
  });

  it('a site that does not let machines speak is http_403', async () => {
    const host = await hostWith();
    host.restrict(true);
    assert.equal(await tell(sourceOf(), { can_terminate: '1' }), 'http_403');
    assert.equal(puts(host).length, 1);
  });

  for (const [row, fault, code] of [
    ['a front-end that is away', { is: 'status', status: 404 }, 'http_404'],
    ['an internal error', { is: 'status', status: 500 }, 'http_500'],
    ['a broken connection', { is: 'reset' }, 'reset'],
    ['no answer', { is: 'hang' }, 'timeout'],
  ] as const)
    it(`${row} is ${code}; and then it is taken`, async () => {
      const host = await hostWith();
      const source = sourceOf({ timeout: '150ms' });
      host.fault('/vm', fault, 1);
      assert.equal(await tell(source, { can_terminate: '1' }), code);
      assert.equal(await tell(source, { can_terminate: '1' }), undefined);
    });

  it('the caller’s signal ends it', async () => {
    const host = await hostWith();
    host.fault('/vm', { is: 'hang' });
    const end = new AbortController();
    const seen = host.seen(1);
    const said = tell(sourceOf(), { can_terminate: '1' }, end.signal);
    await seen;
    end.abort();
    assert.equal(await said, 'aborted');
  });

  it('a context that names no OneGate is no channel', async () => {
    const host = await hostWith({ ONEGATE_ENDPOINT: '' });
    assert.equal(await tell(sourceOf(), { can_terminate: '1' }), 'no_channel');
    assert.deepEqual(host.requests, []);
  });

  it('a context without a token cannot speak', async () => {
    await hostWith();
    fs.rmSync(path.join(contextDir(), 'token.txt'));
    assert.equal(await tell(sourceOf(), { can_terminate: '1' }), 'no_token');
  });

  it('its own words do not come back as the host’s', async () => {
    const host = await hostWith();
    const source = sourceOf();
    const before = await read(source);
    await tell(source, { shutdowntime: '1766440000', total_cpu: '8', mjf_x: '1', can_terminate: '1' });
    const after = await read(source);
    assert.deepEqual([after.machine, after.job], [before.machine, before.job]);
    host.user('TOTAL_CPU', '8');
    assert.deepEqual((await read(source)).machine?.keys['total_cpu'], { is: 'present', value: '8' });
  });
});
