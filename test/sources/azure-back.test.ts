/** Azure's way back (SEMANTICS S5.4): which events wait for a word, whose word that is, and what becomes of it. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, describe, it } from 'node:test';
import type { StatedNotice } from '../../agent/lifetime/types.ts';
import { type AzureConfig, createAzure } from '../../agent/sources/azure.ts';
import { type Source, SourceError } from '../../agent/sources/source.ts';
import { type AzureHost, type AzureHostOptions, COMPUTE_PATH, EVENTS_PATH, startAzureHost } from '../hosts/azure.ts';
import { history, START, source as sourceInfo } from '../lifetime/history.ts';
import { sourceEnvironment } from './environment.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function azureHost(options: AzureHostOptions = {}): Promise<AzureHost> {
  const host = await startAzureHost(options);
  cleanups.push(() => host.close());
  return host;
}

function sourceOn(host: AzureHost, config: AzureConfig = {}, nowMs?: () => number, root?: string): Source {
  const source = createAzure({ base_url: host.url, ...config }, sourceEnvironment(root ? { root } : {}), nowMs);
  cleanups.push(() => source.close?.());
  return source;
}

const SIGNAL = new AbortController().signal;
const IN_AN_HOUR = Date.now() + 3_600_000;

async function noticeOf(source: Source, id: string): Promise<StatedNotice | undefined> {
  const result = await source.read({ signal: SIGNAL, fresh: true });
  assert.ok(result.outcome === 'answer');
  const reading = result.answer.notices?.byId[id];
  return reading?.is === 'present' ? reading.value : undefined;
}

/** Undefined: it was taken. */
async function acknowledge(source: Source, id: string, signal = SIGNAL): Promise<string | undefined> {
  try {
    await source.back?.acknowledge?.(id, signal);
    return undefined;
  } catch (error) {
    if (error instanceof SourceError) return error.code;
    throw error;
  }
}

const posts = (host: AzureHost) => host.requests.filter(({ method }) => method === 'POST');

describe('azure: which notices wait for a word', () => {
  for (const [row, given, awaits] of [
    ['about this machine alone', { type: 'Reboot' }, 'own'],
    ['about this machine, in other letters', { type: 'Reboot', resources: ['VM-17'] }, 'own'],
    ['about this machine among others', { type: 'Preempt', resources: ['vm-18', 'vm-17'] }, 'shared'],
    [
      'this machine named twice, which says nothing of whom else',
      { type: 'Preempt', resources: ['vm-17', 'vm-17'] },
      'shared',
    ],
    ['a freeze, which ends nobody', { type: 'Freeze' }, undefined],
    ['one that has started', { type: 'Redeploy', fields: { EventStatus: 'Started', NotBefore: '' } }, undefined],
    ['a status that nobody knows', { type: 'Redeploy', fields: { EventStatus: 'Proposed' } }, undefined],
    ['no status', { type: 'Redeploy', fields: { EventStatus: undefined } }, undefined],
  ] as const)
    it(`${row}: ${awaits ?? 'does not'}`, async () => {
      const host = await azureHost();
      const id = host.schedule({ notBeforeMs: IN_AN_HOUR, ...given });
      const notice = await noticeOf(sourceOn(host), id);
      assert.ok(notice);
      assert.equal(notice.awaits, awaits);
    });

  it('one without an EventId cannot be named, so it waits for nobody', async () => {
    const host = await azureHost();
    host.schedule({ type: 'Reboot', notBeforeMs: IN_AN_HOUR, fields: { EventId: undefined } });
    const source = sourceOn(host);
    const notice = await noticeOf(source, 'reboot');
    assert.equal(notice?.kind, 'reboot');
    assert.equal(notice?.awaits, undefined);
    assert.equal(await acknowledge(source, 'reboot'), 'gone');
  });

  it('it stops waiting when it starts', async () => {
    const host = await azureHost();
    const source = sourceOn(host);
    const id = host.schedule({ type: 'Reboot', notBeforeMs: IN_AN_HOUR });
    assert.equal((await noticeOf(source, id))?.awaits, 'own');
    host.begin(id);
    assert.equal((await noticeOf(source, id))?.awaits, undefined);
  });

  it('the heart shows it, and that it waits no more', async () => {
    const host = await azureHost();
    const source = sourceOn(host);
    const id = host.schedule({ type: 'Reboot', notBeforeMs: START + 3_600_000 });
    const heart = history({ sources: [sourceInfo('azure')] });
    const awaits = async () => {
      const result = await source.read({ signal: SIGNAL, fresh: true });
      assert.ok(result.outcome === 'answer');
      const { hostNowMs: _, ...answer } = result.answer;
      heart.send({ type: 'observation', observation: { source: 'azure', outcome: 'answer', answer } });
      return heart.snapshot().notices.map((notice) => [notice.id, notice.awaits]);
    };
    assert.deepEqual(await awaits(), [[`azure/${id}`, 'own']]);
    host.schedule({ type: 'Reboot', notBeforeMs: START + 3_600_000, resources: ['vm-17', 'vm-18'] }, id);
    assert.deepEqual(await awaits(), [[`azure/${id}`, 'shared']]);
    host.begin(id);
    assert.deepEqual(await awaits(), [[`azure/${id}`, undefined]]);
  });

  it('the guest’s own host name claims the event, but gives no word for it until the platform has said the name', async () => {
    const root = fs.mkdtempSync(path.join(os.tmpdir(), 'azure-back-'));
    cleanups.push(() => fs.rmSync(root, { recursive: true }));
    fs.mkdirSync(path.join(root, 'proc/sys/kernel'), { recursive: true });
    fs.writeFileSync(path.join(root, 'proc/sys/kernel/hostname'), 'vm-17\n');
    const host = await azureHost();
    host.fault(COMPUTE_PATH, { is: 'status', status: 500 });
    const source = sourceOn(host, {}, undefined, root);
    const id = host.schedule({ type: 'Reboot', notBeforeMs: IN_AN_HOUR });
    const notice = await noticeOf(source, id);
    assert.equal(notice?.kind, 'reboot');
    assert.equal(notice?.awaits, undefined);
    host.fault(COMPUTE_PATH, undefined);
    assert.equal((await noticeOf(source, id))?.awaits, 'own');
  });

  it('a configured name rules, so that events of the platform’s name are another machine’s', async () => {
    const host = await azureHost();
    const source = sourceOn(host, { name: 'workers_11' });
    const [own, other] = [['workers_11'], ['vm-17']].map((resources) =>
      host.schedule({ type: 'Reboot', notBeforeMs: IN_AN_HOUR, resources }),
    );
    assert.equal((await noticeOf(source, own ?? ''))?.awaits, 'own');
    assert.equal(await noticeOf(source, other ?? ''), undefined);
    assert.equal(await acknowledge(source, other ?? ''), 'gone');
  });

  it('a name that is only presumed claims the event, but gives no word for it', async () => {
    const host = await azureHost();
    host.fault(COMPUTE_PATH, { is: 'status', status: 404 });
    let nowMs = 0;
    const source = sourceOn(host, {}, () => nowMs);
    const id = host.schedule({ type: 'Preempt', notBeforeMs: IN_AN_HOUR, resources: ['somebody'] });
    await noticeOf(source, id);
    nowMs = 60_000;
    const notice = await noticeOf(source, id);
    assert.equal(notice?.kind, 'terminate');
    assert.equal(notice?.awaits, undefined);
    assert.equal(await acknowledge(source, id), 'own_name_unknown');
    assert.deepEqual(posts(host), []);
  });
});

describe('azure: acknowledging', () => {
  it('the POST of the documents, and the event begins', async () => {
    const host = await azureHost();
    const source = sourceOn(host);
    const id = host.schedule({ type: 'Terminate', notBeforeMs: IN_AN_HOUR });
    await noticeOf(source, id);
    assert.equal(await acknowledge(source, id), undefined);
    const [post, ...more] = posts(host);
    assert.deepEqual(more, []);
    assert.equal(post?.path, EVENTS_PATH);
    assert.equal(post?.query.get('api-version'), '2020-07-01');
    assert.equal(post?.headers['metadata'], 'true');
    assert.equal(post?.headers['content-type'], 'application/json');
    assert.equal(post?.body, `{"StartRequests":[{"EventId":"${id}"}]}`);
    assert.deepEqual(host.acknowledged, [{ id, released: ['vm-17'] }]);
  });

  it('repeated before the next document it does no harm; after it, there is nothing left to say', async () => {
    const host = await azureHost();
    const source = sourceOn(host);
    const id = host.schedule({ type: 'Terminate', notBeforeMs: IN_AN_HOUR });
    await noticeOf(source, id);
    assert.equal(await acknowledge(source, id), undefined);
    assert.equal(await acknowledge(source, id), undefined);
    assert.equal(host.acknowledged.length, 1);
    await noticeOf(source, id);
    assert.equal(await acknowledge(source, id), 'gone');
    assert.equal(posts(host).length, 2);
  });

  for (const [row, EventId] of [
    ['longer than an id of a notice may be', 'E'.repeat(300)],
    ['with blanks around it', ' 602D9444 '],
    ['with what is not printable', 'a\u202eb\tc'],
    ['with what JSON and a shell would take apart', '"}],"x":[{"\\$(id)'],
  ] as const)
    it(`an EventId ${row} goes back exactly as it came`, async () => {
      const host = await azureHost();
      const source = sourceOn(host);
      host.schedule({ type: 'Reboot', notBeforeMs: IN_AN_HOUR, fields: { EventId } });
      const result = await source.read({ signal: SIGNAL, fresh: true });
      assert.ok(result.outcome === 'answer');
      const [[id, notice] = []] = Object.entries(result.answer.notices?.byId ?? {});
      assert.ok(id !== undefined && id !== EventId.slice(0, -1) && notice?.is === 'present');
      assert.equal(await acknowledge(source, id), undefined);
      assert.equal(host.acknowledged[0]?.id, EventId);
    });

  it('two events whose ids became one are not told apart, so neither is named', async () => {
    const host = await azureHost();
    const source = sourceOn(host);
    for (const end of ['1', '2'])
      host.schedule({ type: 'Reboot', notBeforeMs: IN_AN_HOUR, fields: { EventId: 'E'.repeat(300) + end } });
    const id = `${'E'.repeat(127)}…`;
    assert.equal((await noticeOf(source, id))?.awaits, undefined);
    assert.equal(await acknowledge(source, id), 'gone');
    assert.deepEqual(posts(host), []);
  });

  for (const [row, happens] of [
    ['has started', (host: AzureHost, id: string) => host.begin(id)],
    ['is not listed any more', (host: AzureHost, id: string) => host.end(id)],
    [
      'is about others now',
      (host: AzureHost, id: string) =>
        host.schedule({ type: 'Reboot', notBeforeMs: IN_AN_HOUR, resources: ['vm-18'] }, id),
    ],
    [
      'became a freeze',
      (host: AzureHost, id: string) => host.schedule({ type: 'Freeze', notBeforeMs: IN_AN_HOUR }, id),
    ],
  ] as const)
    it(`what ${row} is not acknowledged`, async () => {
      const host = await azureHost();
      const source = sourceOn(host);
      const id = host.schedule({ type: 'Reboot', notBeforeMs: IN_AN_HOUR });
      await noticeOf(source, id);
      happens(host, id);
      await noticeOf(source, id);
      assert.equal(await acknowledge(source, id), 'gone');
      assert.deepEqual(posts(host), []);
    });

  it('whom it is about has changed: whoever decided by the old word first hears of the new one', async () => {
    const host = await azureHost();
    const source = sourceOn(host);
    const id = host.schedule({ type: 'Reboot', notBeforeMs: IN_AN_HOUR });
    assert.equal((await noticeOf(source, id))?.awaits, 'own');
    host.schedule({ type: 'Reboot', notBeforeMs: IN_AN_HOUR, resources: ['vm-17', 'vm-18'] }, id);
    assert.equal((await noticeOf(source, id))?.awaits, 'shared');
    assert.equal(await acknowledge(source, id), 'changed');
    assert.deepEqual(posts(host), []);
    await noticeOf(source, id);
    assert.equal(await acknowledge(source, id), undefined, 'for who wants shared ones too');
    assert.deepEqual(host.acknowledged, [{ id, released: ['vm-17', 'vm-18'] }]);
  });

  it('before any list has come nothing is known, which is not the same as gone', async () => {
    const host = await azureHost();
    const id = host.schedule({ type: 'Reboot', notBeforeMs: IN_AN_HOUR });
    assert.equal(await acknowledge(sourceOn(host), id), 'not_heard');
    assert.deepEqual(posts(host), []);
  });

  it('an answer without content lists nothing', async () => {
    const host = await azureHost();
    const source = sourceOn(host);
    const id = host.schedule({ type: 'Reboot', notBeforeMs: IN_AN_HOUR });
    await noticeOf(source, id);
    host.fault(EVENTS_PATH, { is: 'status', status: 204 }, 1);
    await noticeOf(source, id);
    assert.equal(await acknowledge(source, id), 'gone');
    assert.deepEqual(posts(host), []);
  });

  it('a list that cannot be read leaves the last good one in force', async () => {
    const host = await azureHost();
    const source = sourceOn(host);
    const id = host.schedule({ type: 'Reboot', notBeforeMs: IN_AN_HOUR });
    await noticeOf(source, id);
    host.fault(EVENTS_PATH, { is: 'html' }, 1);
    await noticeOf(source, id);
    assert.equal(await acknowledge(source, id), undefined);
  });

  for (const [row, fault, code] of [
    ['an event that the host does not know', { is: 'status', status: 400 }, 'http_400'],
    ['nobody there', { is: 'status', status: 404 }, 'http_404'],
    ['an internal error', { is: 'status', status: 500 }, 'http_500'],
    ['a broken connection', { is: 'reset' }, 'reset'],
    ['no answer', { is: 'hang' }, 'timeout'],
  ] as const)
    it(`${row} is ${code}; and then it is taken`, async () => {
      const host = await azureHost();
      const source = sourceOn(host, { timeout: '150ms' });
      const id = host.schedule({ type: 'Reboot', notBeforeMs: IN_AN_HOUR });
      await noticeOf(source, id);
      host.fault(EVENTS_PATH, fault, 1);
      assert.equal(await acknowledge(source, id), code);
      assert.equal(await acknowledge(source, id), undefined);
      assert.equal(host.acknowledged.length, 1);
    });

  it('the caller’s signal ends it', async () => {
    const host = await azureHost();
    const source = sourceOn(host);
    const id = host.schedule({ type: 'Reboot', notBeforeMs: IN_AN_HOUR });
    await noticeOf(source, id);
    host.fault(EVENTS_PATH, { is: 'hang' }, 1);
    const end = new AbortController();
    const seen = host.seen(1, EVENTS_PATH);
    const said = acknowledge(source, id, end.signal);
    await seen;
    end.abort();
    assert.equal(await said, 'aborted');
  });
});

describe('the stand-in takes StartRequests as the real one', () => {
  const post = (host: AzureHost, body: string, headers: Readonly<Record<string, string>> = { metadata: 'true' }) =>
    fetch(`${host.url}${EVENTS_PATH}?api-version=2020-07-01`, { method: 'POST', body, headers });

  for (const [row, body, headers, status] of [
    ['without the header', 'right', {}, 400],
    ['through a proxy', 'right', { metadata: 'true', 'x-forwarded-for': '10.0.0.1' }, 400],
    ['an event that is not listed', '{"StartRequests":[{"EventId":"nobody"}]}', { metadata: 'true' }, 400],
    ['no event', '{"StartRequests":[]}', { metadata: 'true' }, 400],
    ['no JSON', 'StartRequests', { metadata: 'true' }, 400],
    ['as it should be', 'right', { metadata: 'true' }, 200],
  ] as const)
    it(`${row}: ${status}`, async () => {
      const host = await azureHost();
      const id = host.schedule({ type: 'Reboot', notBeforeMs: IN_AN_HOUR });
      const right = JSON.stringify({ StartRequests: [{ EventId: id }] });
      const answer = await post(host, body === 'right' ? right : body, headers);
      await answer.arrayBuffer();
      assert.equal(answer.status, status);
      assert.equal(host.acknowledged.length, status === 200 ? 1 : 0);
    });
});
