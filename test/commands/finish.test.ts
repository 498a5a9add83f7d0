/** `mjf-agent finish`: whose word it is, and how it is said. */
import assert from 'node:assert/strict';
import test, { describe, type TestContext } from 'node:test';
import type { Output } from '../../agent/commands/command.ts';
import { runCommand } from '../../agent/commands/command.ts';
import { command } from '../../agent/commands/finish.ts';
import { choosePayload, type OwnPayload } from '../../agent/commands/finish-payload.ts';
import { ancestorsOf, type FinishWish, sayFinalWord } from '../../agent/commands/finish-word.ts';
import { type Answer, fakeDaemon, run, type Seen } from './cli.ts';

const row = (id: string, change: Partial<OwnPayload> = {}): OwnPayload => ({
  id,
  name: 'job',
  pid: null,
  token: null,
  ...change,
});
const ROWS = [
  row('p-1', { name: 'pilot', pid: 100, token: 'aa' }),
  row('p-2', { pid: 200, token: 'bb' }),
  row('p-3', { pid: 300 }),
  row('p-4', { name: 'unit' }),
  row('p-5', { name: 'twin', pid: 500 }),
  row('p-6', { name: 'twin', pid: 500 }),
];
const at = (id: string): string => `http://127.0.0.1:8653/v1/payloads/${id}`;

describe('whose word it is', () => {
  for (const [name, wanted, env, ancestors, chosen] of [
    ['the id that is given', 'p-3', { MJF_PAYLOAD_URL: at('p-1') }, [], 'p-3'],
    ['the name that is given', 'unit', { MJF_PAYLOAD_URL: at('p-1') }, [], 'p-4'],
    ['a name that two have', 'job', {}, [], 'several: several payloads are called "job": job (p-2), job (p-3)'],
    ['a name that nobody has, whatever else', 'nobody', { MJF_PAYLOAD_URL: at('p-1') }, [100], 'unknown'],
    ['the row that exec has named', undefined, { MJF_PAYLOAD_URL: at('p-2') }, [300], 'p-2'],
    [
      'before the view of somebody else',
      undefined,
      { MJF_PAYLOAD_URL: at('p-2'), JOBFEATURES: '/v/views/aa/jobfeatures' },
      [],
      'p-2',
    ],
    ['its view, as a path', undefined, { JOBFEATURES: '/run/x/views/bb/jobfeatures' }, [], 'p-2'],
    ['its view, as a URL', undefined, { JOBFEATURES: 'http://127.0.0.1:1/p/aa/jobfeatures/' }, [300], 'p-1'],
    [
      'its view, where the row has another id by now',
      undefined,
      { MJF_PAYLOAD_URL: at('old'), JOBFEATURES: '/x/views/bb/jobfeatures' },
      [],
      'p-2',
    ],
    ['the common features are nobody’s view', undefined, { JOBFEATURES: '/run/mjf-agent/jobfeatures' }, [1, 2], 'none'],
    ['the nearest ancestor that is a payload', undefined, {}, [7, 300, 100], 'p-3'],
    [
      'an ancestor, where the row of the environment is gone',
      undefined,
      { MJF_PAYLOAD_URL: at('old') },
      [7, 100],
      'p-1',
    ],
    [
      'two rows that name one process',
      undefined,
      {},
      [500, 100],
      'several: process 500 stands for several payloads: twin (p-5), twin (p-6)',
    ],
    ['nobody’s', undefined, {}, [7, 8], 'none'],
    [
      'of a payload that is not there any more',
      undefined,
      { MJF_PAYLOAD_URL: at('old') },
      [7],
      'unknown: the daemon does not know the payload that MJF_PAYLOAD_URL names (any more)',
    ],
    [
      'of a view that is not there any more',
      undefined,
      { JOBFEATURES: '/x/views/old/jobfeatures' },
      [7],
      'unknown: the daemon does not know the payload that JOBFEATURES names (any more)',
    ],
    [
      'nonsense in the environment',
      undefined,
      { MJF_PAYLOAD_URL: 'http://x/v1/payloads/%E0%A4%A', JOBFEATURES: '' },
      [],
      'none',
    ],
  ] as const satisfies readonly (readonly [
    string,
    string | undefined,
    Record<string, string>,
    readonly number[],
    string,
  ])[]) {
    test(name, () => {
      const found = choosePayload(ROWS, { wanted, env, ancestors });
      const said = found.is === 'payload' ? found.payload.id : 'why' in found ? `${found.is}: ${found.why}` : found.is;
      assert.ok(said === chosen || (chosen === 'unknown' && found.is === 'unknown'), said);
    });
  }

  test('ancestors: itself first, up to who belongs to init; one that is gone has none', () => {
    const found = ancestorsOf(process.pid);
    assert.deepEqual(found.slice(0, 2), [process.pid, process.ppid]);
    assert.ok(!found.includes(1));
    assert.deepEqual(ancestorsOf(4_194_304), [4_194_304]);
  });
});

/** As the daemon shows them. */
const shown = JSON.stringify(
  ROWS.map(({ id, name, pid, token }) => ({
    id,
    name,
    pid,
    view: token === null ? null : { jobfeatures_path: `/run/mjf-agent/views/${token}/jobfeatures` },
  })),
);
const WORD = { code: 300, text: 'No more work' };

describe('how it is said', () => {
  async function scene(
    t: TestContext,
    change: Partial<FinishWish>,
    answer: (seen: Seen, channel: string) => Answer | undefined = () => undefined,
  ) {
    const daemon = await fakeDaemon(
      (seen, channel) =>
        answer(seen, channel) ??
        (seen.method === 'GET'
          ? { status: 200, body: shown }
          : { status: seen.url === '/v1/final_word' ? 204 : 200, body: '' }),
    );
    t.after(daemon.close);
    const said: string[] = [];
    const output: Output = { out: (text) => said.push(text), complain: (text) => said.push(`! ${text}`) };
    const wish = { word: WORD, wanted: undefined, runtimeDir: daemon.runtimeDir, env: {}, uid: 1000, ancestors: [] };
    const code = await sayFinalWord({ ...wish, ...change }, output);
    const posts = daemon.requests.filter(({ method }) => method === 'POST');
    return {
      code,
      said,
      posts: posts.map(({ channel, url, body }) => ({ channel, url, body })),
      asked: daemon.requests,
    };
  }

  test('as a payload: over TCP, where the daemon sees who calls', async (t) => {
    const { code, said, posts } = await scene(t, { ancestors: [1, 300] });
    assert.deepEqual([code, said], [0, ['job (p-3): 300 No more work\n']]);
    assert.deepEqual(posts, [{ channel: 'tcp', url: '/v1/payloads/p-3/final_word', body: { ...WORD, by: 'payload' } }]);
  });

  test('root without a payload says the machine’s own word; with one, that payload’s', async (t) => {
    const machine = await scene(t, { uid: 0, word: { code: 500, text: '' } });
    assert.equal(machine.code, 0);
    assert.match(machine.said[0] ?? '', /^500 \(the machine's own word/);
    assert.deepEqual(machine.posts, [{ channel: 'admin', url: '/v1/final_word', body: { code: 500 } }]);
    const own = await scene(t, { uid: 0, env: { MJF_PAYLOAD_URL: at('p-1') } });
    assert.deepEqual(
      own.posts.map(({ channel, url }) => [channel, url]),
      [['tcp', '/v1/payloads/p-1/final_word']],
    );
  });

  test('root’s payload that is gone does not speak for the machine', async (t) => {
    const { code, said, posts } = await scene(t, { uid: 0, env: { MJF_PAYLOAD_URL: at('old') } });
    assert.deepEqual([code, posts], [1, []]);
    assert.match(said.join(), /^! the daemon does not know the payload that MJF_PAYLOAD_URL names/);
  });

  test('nobody’s word is refused with what to do', async (t) => {
    const several = await scene(t, {});
    assert.deepEqual([several.code, several.posts], [1, []]);
    assert.match(several.said.join(), /belongs to no payload .* --payload ID: pilot \(p-1\), job \(p-2\)/);
    const none = await scene(t, {}, ({ method }) => (method === 'GET' ? { status: 200, body: '[]' } : undefined));
    assert.equal(none.code, 1);
    assert.match(none.said.join(), /you have none: start it with "mjf-agent exec"/);
  });

  for (const [name, status, code, message] of [
    ['ended meanwhile', 404, 1, /pilot \(p-1\) has ended meanwhile/],
    ['somebody else’s', 403, 77, /not permitted: because/],
    ['refused', 400, 1, /refused \(400\): because/],
    ['not now', 503, 69, /cannot answer now/],
  ] as const) {
    test(`a payload that is ${name}: exit code ${code}`, async (t) => {
      const because = { status, body: JSON.stringify({ detail: 'because' }) };
      const { code: got, said } = await scene(t, { wanted: 'pilot' }, ({ method }) =>
        method === 'POST' ? because : undefined,
      );
      assert.equal(got, code);
      assert.match(said.join(), message);
    });
  }

  test('what is no daemon, or none any more: 69', async (t) => {
    const other = await scene(t, {}, () => ({ status: 200, body: '<html>' }));
    assert.deepEqual([other.code, other.posts], [69, []]);
    const { code } = await scene(t, { runtimeDir: '/nonexistent/mjf-agent' });
    assert.equal(code, 69);
  });

  test('without an HTTP interface root asks over admin.sock', async (t) => {
    const { code, posts } = await scene(t, { uid: 0, wanted: 'p-4' }, ({ method }, channel) =>
      // A listener that breaks off is as good as none.
      channel === 'tcp' && method === 'GET' ? { status: 200, body: '', headers: { 'content-length': '9' } } : undefined,
    );
    assert.deepEqual([code, posts[0]?.channel], [0, 'admin']);
  });
});

describe('the command line', () => {
  async function usage(...argv: readonly string[]) {
    const said: string[] = [];
    const output: Output = { out: (text) => said.push(text), complain: (text) => said.push(text) };
    return {
      code: await runCommand(command, argv, output, { MJF_AGENT_RUNTIME_DIR: '/nonexistent' }),
      said: said.join(),
    };
  }

  for (const [argv, message] of [
    [[], /something is missing/],
    [['99'], /from 100 to 999, got "99"/],
    [['1000'], /from 100 to 999/],
    [['7e2'], /from 100 to 999/],
    [['done'], /from 100 to 999, got "done"/],
    [['200', 'a\nb'], /one printable line/],
    [['200', 'x'.repeat(150), 'y'.repeat(50)], /at most 200 characters/],
  ] as const) {
    test(`64: finish ${JSON.stringify(argv).slice(0, 30)}`, async () => {
      const { code, said } = await usage(...argv);
      assert.equal(code, 64);
      assert.match(said, message);
    });
  }

  test('--help lists what the codes mean', async () => {
    const { code, said } = await usage('--help');
    assert.equal(code, 0);
    for (const line of [
      '100  shutdown as requested by the host',
      '200  intended',
      '300',
      '400',
      '500',
      '600',
      '700  transient',
    ])
      assert.ok(said.includes(`\n  ${line}`), line);
  });

  test('words are joined by blanks, also behind --; exit code 69 without a daemon', async () => {
    const daemon = await fakeDaemon(({ method }) =>
      method === 'GET' ? { status: 200, body: shown } : { status: 200, body: '' },
    );
    try {
      const env = { ...daemon.env, MJF_PAYLOAD_URL: at('p-1') };
      const { code, out, err } = await run(['finish', '700', 'Disk', 'full:', '--', '-1', 'left'], env);
      assert.deepEqual([code, out, err], [0, 'pilot (p-1): 700 Disk full: -1 left\n', '']);
      assert.deepEqual(daemon.requests.at(-1)?.body, { code: 700, text: 'Disk full: -1 left', by: 'payload' });
    } finally {
      await daemon.close();
    }
    assert.equal((await usage('200')).code, 69);
  });
});
