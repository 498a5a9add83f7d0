import assert from 'node:assert/strict';
import test from 'node:test';
import { type NoticeOptions, wishOf } from '../../agent/commands/notice-wish.ts';
import { fakeDaemon, lifetime, run } from './cli.ts';

const NOW_MS = 1_766_430_000_000;

for (const [name, options, positionals, wish] of [
  ['--in', { in: '30m' }, [], { does: 'announce', body: { kind: 'shutdown', in_secs: 1800 } }],
  ['--at in UNIX seconds', { at: '1766440000' }, [], { does: 'announce', body: { kind: 'shutdown', at: 1766440000 } }],
  [
    '--at in ISO 8601',
    { at: '2025-12-22T22:46:40+01:00' },
    [],
    { does: 'announce', body: { kind: 'shutdown', at: 1766440000 } },
  ],
  [
    'a drain without a time',
    { kind: 'drain', reason: 'patch' },
    [],
    { does: 'announce', body: { kind: 'drain', reason: 'patch' } },
  ],
  ['--cancel', { cancel: true }, [], { does: 'cancel' }],
  ['--cancel ID', { cancel: true }, ['operator/3'], { does: 'cancel', id: 'operator/3' }],
  ['--ignore ID', { ignore: 'ec2/spot' }, [], { does: 'ignore', id: 'ec2/spot' }],
] as const satisfies readonly (readonly [string, NoticeOptions, readonly string[], unknown])[]) {
  test(`S6.1 ${name}`, () => assert.deepEqual(wishOf(options, positionals, NOW_MS), wish));
}

for (const [name, options, positionals, message] of [
  ['a shutdown without a time', {}, [], /needs a time/],
  ['both --in and --at', { in: '5m', at: '1766440000' }, [], /exclude each other/],
  ['a time in the past', { at: '1766429999' }, [], /lies in the past/],
  ['milliseconds', { at: '1766440000000' }, [], /milliseconds/],
  ['a time without zone', { at: '2025-12-22T21:46:40' }, [], /with a time zone/],
  ['words', { at: 'tomorrow' }, [], /expected UNIX seconds/],
  ['a calendar day that does not exist', { at: '2025-13-45T00:00:00Z' }, [], /expected UNIX seconds/],
  ['a wrong duration', { in: '5' }, [], /--in: expected a duration/],
  ['another kind', { kind: 'reboot', in: '5m' }, [], /shutdown or drain/],
  ['announce and cancel', { cancel: true, in: '5m' }, [], /exclude each other/],
  ['ignore and cancel', { cancel: true, ignore: 'x' }, [], /exclude each other/],
  ['a stray word', { in: '5m' }, ['x'], /unexpected "x"/],
] as const satisfies readonly (readonly [string, NoticeOptions, readonly string[], RegExp])[]) {
  test(`${name} is refused`, () => {
    assert.throws(() => wishOf(options, positionals, NOW_MS), { name: 'UsageError', message });
  });
}

test('the wishes go over admin.sock, as JSON, and are confirmed', async () => {
  const daemon = await fakeDaemon(({ method }) =>
    method === 'POST' ? { status: 201, body: '{"id":"operator/1"}' } : { status: 204, body: '' },
  );
  try {
    assert.deepEqual(await run(['notice', '--in', '30m', '--reason', 'patch day'], daemon.env), {
      code: 0,
      out: 'operator/1: shutdown in 30 min\n',
      err: '',
    });
    assert.deepEqual(await run(['notice', '--cancel'], daemon.env), {
      code: 0,
      out: 'all notices of the operator taken back\n',
      err: '',
    });
    const json = await run(['notice', '--json', '--kind', 'drain'], daemon.env);
    assert.deepEqual(JSON.parse(json.out), { did: 'announced', id: 'operator/1' });
    daemon.requests.pop();
    assert.equal((await run(['notice', '--cancel', 'operator/1'], daemon.env)).out, 'operator/1 taken back\n');
    assert.equal((await run(['notice', '--ignore', 'ec2/spot'], daemon.env)).out, 'ec2/spot ignored\n');
    assert.equal((await run(['notice', '--cancel', 'ec2/spot'], daemon.env)).out, 'ec2/spot counts again\n');
    assert.deepEqual(daemon.requests, [
      {
        channel: 'admin',
        method: 'POST',
        url: '/v1/notices',
        body: { kind: 'shutdown', in_secs: 1800, reason: 'patch day' },
        contentType: 'application/json',
      },
      { channel: 'admin', method: 'DELETE', url: '/v1/notices', body: undefined, contentType: undefined },
      { channel: 'admin', method: 'DELETE', url: '/v1/notices/operator/1', body: undefined, contentType: undefined },
      {
        channel: 'admin',
        method: 'POST',
        url: '/v1/notices/ignore',
        body: { id: 'ec2/spot' },
        contentType: 'application/json',
      },
      { channel: 'admin', method: 'DELETE', url: '/v1/notices/ec2/spot', body: undefined, contentType: undefined },
    ]);
  } finally {
    await daemon.close();
  }
});

test('an id that is not there is exit code 1, a refusal 1 with its reason, forbidden 77', async () => {
  let status = 404;
  const notices = ['operator/1', 'ec2/spot', 'operator/2'].map((id) => ({ id, kind: 'drain' }));
  const daemon = await fakeDaemon(({ url }) =>
    url === '/v1/lifetime'
      ? { status: 200, body: lifetime({ notices }) }
      : { status, body: JSON.stringify({ detail: 'because \u001b[2J.' }) },
  );
  try {
    assert.deepEqual(await run(['notice', '--cancel', 'x'], daemon.env), {
      code: 1,
      out: '',
      err: 'mjf-agent: there is no notice x; there are operator/1, operator/2\n',
    });
    assert.match(
      (await run(['notice', '--ignore', 'x'], daemon.env)).err,
      /there are operator\/1, ec2\/spot, operator\/2$/m,
    );
    assert.match(
      (await run(['notice', '--cancel', 'ec2/spot'], daemon.env)).err,
      /ec2\/spot is not the operator's.*"mjf-agent notice --ignore ec2\/spot" overrides it/,
    );
    status = 400;
    assert.deepEqual(await run(['notice', '--in', '5m'], daemon.env), {
      code: 1,
      out: '',
      err: 'mjf-agent: refused (400): because \\u001b[2J\n',
    });
    status = 403;
    assert.equal((await run(['notice', '--in', '5m'], daemon.env)).code, 77);
  } finally {
    await daemon.close();
  }
});
