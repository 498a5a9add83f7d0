import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import pino from 'pino';
import type { FeatureReading } from '../../agent/lifetime/types.ts';
import { NO_FACTS } from '../../agent/sources/facts.ts';
import { type SelfConfig, selfSource } from '../../agent/sources/self.ts';

const UUID = '4c4c4544-0042-3510-8052-b4c04f4a4d31';
const MEMINFO = 'MemTotal:        8000000 kB\nMemFree:  1 kB\nSwapTotal:       2000000 kB\n';

interface Given {
  readonly files?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly config?: SelfConfig;
}

/** What the source says on a machine that has exactly these files. */
async function read(given: Given): Promise<Record<string, string>> {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-self-'));
  try {
    for (const [name, text] of Object.entries(given.files ?? {})) {
      fs.mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
      fs.writeFileSync(path.join(root, name), text);
    }
    const [source] = selfSource.create(given.config, {
      root,
      runtimeDir: '/nonexistent/run',
      env: given.env ?? {},
      log: pino({ level: 'silent' }),
      firstBootMs: 1_700_000_000_999,
      facts: NO_FACTS,
      pointers: {},
      self: { command: 'node', args: [] },
    });
    assert.ok(source);
    const result = await source.read({ signal: AbortSignal.timeout(1000), fresh: false });
    assert.ok(result.outcome === 'answer');
    const { machine, job } = result.answer;
    assert.equal(machine?.complete, true);
    assert.equal(job?.complete, true);
    return { ...present(machine), ...present(job) };
  } finally {
    fs.rmSync(root, { recursive: true });
  }
}

function present(reading: FeatureReading | undefined): Record<string, string> {
  const entries = Object.entries(reading?.keys ?? {});
  return Object.fromEntries(entries.flatMap(([key, value]) => (value.is === 'present' ? [[key, value.value]] : [])));
}

const cpus = String(os.availableParallelism());
const ALWAYS = { total_cpu: cpus, allocated_cpu: cpus, jobstart_secs: '1700000000' };

test('on a machine that tells nothing: processors and start, no limit made up (S2.3)', async () => {
  assert.deepEqual(await read({}), ALWAYS);
});

test('S2.1 it is the weakest source, asked each minute', () => {
  const [source] = selfSource.create(
    {},
    {
      root: '/',
      runtimeDir: '/r',
      env: {},
      log: pino({ level: 'silent' }),
      firstBootMs: 0,
      facts: NO_FACTS,
      pointers: {},
      self: { command: 'node', args: [] },
    },
  );
  assert.deepEqual([source?.rank, source?.poll], ['self', 60_000]);
});

test('each key can be turned off; all off is no source', async () => {
  const config = { total_cpu: false, jobstart_secs: false };
  assert.deepEqual(await read({ config }), { allocated_cpu: cpus });
  const off = Object.fromEntries(Object.keys(selfSource.schema['properties'] ?? {}).map((key) => [key, false]));
  const [source] = selfSource.create(off, {
    root: '/',
    runtimeDir: '/r',
    env: {},
    log: pino({ level: 'silent' }),
    firstBootMs: 0,
    facts: NO_FACTS,
    pointers: {},
    self: { command: 'node', args: [] },
  });
  assert.equal(source, undefined);
});

test('cgroup v2: a limit below physical memory and swap is one', async () => {
  const found = await read({
    files: {
      'proc/meminfo': MEMINFO,
      'sys/fs/cgroup/memory.max': '4294967296\n',
      'sys/fs/cgroup/memory.swap.max': '1073741824\n',
    },
  });
  assert.deepEqual(found, { ...ALWAYS, max_rss_bytes: '4294967296', max_swap_bytes: '1073741824' });
});

test('cgroup v1: swap is what memory+swap allows beyond memory', async () => {
  const found = await read({
    files: {
      'proc/meminfo': MEMINFO,
      'sys/fs/cgroup/memory/memory.limit_in_bytes': '4294967296\n',
      'sys/fs/cgroup/memory/memory.memsw.limit_in_bytes': '5368709120\n',
    },
  });
  assert.deepEqual(found, { ...ALWAYS, max_rss_bytes: '4294967296', max_swap_bytes: '1073741824' });
});

for (const [name, files] of [
  ['max of cgroup v2', { 'sys/fs/cgroup/memory.max': 'max\n', 'sys/fs/cgroup/memory.swap.max': 'max\n' }],
  [
    'the huge number of cgroup v1',
    {
      'sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n',
      'sys/fs/cgroup/memory/memory.memsw.limit_in_bytes': '9223372036854771712\n',
    },
  ],
  ['exactly physical memory', { 'proc/meminfo': MEMINFO, 'sys/fs/cgroup/memory.max': `${8_000_000 * 1024}\n` }],
  ['more than physical memory', { 'proc/meminfo': MEMINFO, 'sys/fs/cgroup/memory.max': '99000000000\n' }],
  ['nonsense', { 'sys/fs/cgroup/memory.max': '-1\n' }],
  ['zero', { 'sys/fs/cgroup/memory.max': '0\n' }],
  [
    'the limit of our own unit, seen through a private cgroup namespace',
    { 'proc/1/cgroup': '0::/../../init.scope\n', 'sys/fs/cgroup/memory.max': '67108864\n' },
  ],
] as const) {
  test(`S2.3 ${name} is no limit`, async () =>
    assert.deepEqual(await read({ files: files as Record<string, string> }), ALWAYS));
}

test('job_id is the product UUID in lower case', async () => {
  const found = await read({ files: { 'sys/class/dmi/id/product_uuid': `${UUID.toUpperCase()}\n` } });
  assert.equal(found['job_id'], UUID);
});

test('the credential that the unit hands over goes before the file that root alone may read', async () => {
  const files = { 'creds/dmi': `${UUID}\n`, 'sys/class/dmi/id/product_uuid': '11111111-2222-3333-4444-555555555555\n' };
  assert.equal((await read({ files, env: { CREDENTIALS_DIRECTORY: '/creds' } }))['job_id'], UUID);
});

test('an empty credential (its fallback) leads on to the file', async () => {
  const files = { 'creds/dmi': '', 'sys/class/dmi/id/product_uuid': `${UUID}\n` };
  assert.equal((await read({ files, env: { CREDENTIALS_DIRECTORY: '/creds' } }))['job_id'], UUID);
});

for (const text of [
  'Not Settable',
  '00000000-0000-0000-0000-000000000000',
  'FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF',
  '',
  `${UUID} and more`,
  'x'.repeat(10_000),
]) {
  test(`${JSON.stringify(text.slice(0, 40))} is no job_id`, async () => {
    assert.deepEqual(await read({ files: { 'sys/class/dmi/id/product_uuid': text } }), ALWAYS);
  });
}
