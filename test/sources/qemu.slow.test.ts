import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, describe, it } from 'node:test';
import { systemClock } from '../../agent/clock.ts';
import type { Observation } from '../../agent/lifetime/types.ts';
import { createSources } from '../../agent/sources/create.ts';
import { startDriver } from '../../agent/sources/driver.ts';
import { readMachineFacts } from '../../agent/sources/facts.ts';
import { qemuSource } from '../../agent/sources/qemu.ts';
import { credentialPlace, fwCfgPlace, oemStringsPlace } from '../../agent/sources/qemu-places.ts';
import { oemStrings } from '../../agent/sources/qemu-smbios.ts';
import type { ReadResult, TraceEntry } from '../../agent/sources/source.ts';
import { history, START, secs, source as sourceInfo } from '../lifetime/history.ts';
import { sourceEnvironment } from './environment.ts';

const roots: string[] = [];
afterEach(() => {
  for (const root of roots.splice(0)) fs.rmSync(root, { recursive: true, force: true });
});

/** One SMBIOS structure: the header, then its texts. */
function structure(type: number, texts: readonly (string | Buffer)[], body = Buffer.from([texts.length])): Buffer {
  const set =
    texts.length === 0 ? [Buffer.from([0])] : texts.flatMap((text) => [Buffer.from(text as string), Buffer.from([0])]);
  return Buffer.concat([Buffer.from([type, 4 + body.length, 0, 1]), body, ...set, Buffer.from([0])]);
}

interface Given {
  /** As after `-fw_cfg name=`: the kernel links each name to a directory with the content in `raw`. */
  readonly fwCfg?: Readonly<Record<string, string | Buffer>>;
  readonly oem?: readonly (string | Buffer)[] | Buffer;
  /** The whole table alone, as without dmi-sysfs. */
  readonly table?: Buffer;
  readonly credentials?: Readonly<Record<string, string>>;
}

function makeRoot(given: Given): { readonly root: string; readonly env: Readonly<Record<string, string>> } {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-qemu-'));
  roots.push(root);
  const write = (file: string, content: string | Buffer): void => {
    fs.mkdirSync(path.dirname(path.join(root, file)), { recursive: true });
    fs.writeFileSync(path.join(root, file), content);
  };
  const fwCfg = 'sys/firmware/qemu_fw_cfg';
  Object.entries(given.fwCfg ?? {}).forEach(([name, content], i) => {
    const byKey = `${fwCfg}/by_key/${32 + i}`;
    for (const [file, text] of [
      ['name', `${name}\n`],
      ['key', `${32 + i}\n`],
      ['size', `${content.length}\n`],
    ] as const)
      write(`${byKey}/${file}`, text);
    write(`${byKey}/raw`, content);
    const link = path.join(root, fwCfg, 'by_name', name);
    fs.mkdirSync(path.dirname(link), { recursive: true });
    fs.symlinkSync(path.relative(path.dirname(link), path.join(root, byKey)), link);
  });
  if (given.oem !== undefined)
    write('sys/firmware/dmi/entries/11-0/raw', Buffer.isBuffer(given.oem) ? given.oem : structure(11, given.oem));
  if (given.table !== undefined) write('sys/firmware/dmi/tables/DMI', given.table);
  if (given.credentials === undefined) return { root, env: {} };
  for (const [name, text] of Object.entries(given.credentials)) write(`credentials/${name}`, text);
  return { root, env: { CREDENTIALS_DIRECTORY: path.join(root, 'credentials') } };
}

async function read(given: Given, trace?: (entry: TraceEntry) => void): Promise<ReadResult> {
  const [source] = qemuSource.create({}, sourceEnvironment({ ...makeRoot(given), ...(trace && { trace }) }));
  assert.ok(source);
  assert.deepEqual([source.rank, source.poll], ['platform', 'once']);
  return source.read({ signal: AbortSignal.timeout(1000), fresh: false });
}

async function isComplete(given: Given): Promise<readonly (boolean | undefined)[]> {
  const result = await read(given);
  assert.ok(result.outcome === 'answer');
  return [result.answer.machine?.complete, result.answer.job?.complete];
}

/** `machine/key=value`, `job/key?code`, `machinefeatures -> place`. */
async function said(given: Given): Promise<readonly string[]> {
  const result = await read(given);
  assert.ok(result.outcome === 'answer', result.outcome === 'no_channel' ? result.detail : '');
  const { machine, job, pointers } = result.answer;
  const sides = [
    ['machine', machine],
    ['job', job],
  ] as const;
  return [
    ...sides.flatMap(([side, reading]) =>
      Object.entries(reading?.keys ?? {}).map(([key, value]) =>
        value.is === 'present' ? `${side}/${key}=${value.value}` : `${side}/${key} ${value.is}`,
      ),
    ),
    ...Object.entries(pointers ?? {}).map(([name, place]) => `${name} -> ${place}`),
  ].sort();
}

describe('fw_cfg', () => {
  it('names below opt/ that end in ours are keys and pointers, whoever’s domain stands in front; nothing else is read', async () => {
    const given = {
      'opt/org.example/machinefeatures/shutdowntime': '1766440000',
      'opt/org.example/site/jobfeatures/job_id': 'vm-17\n',
      'opt/machinefeatures/rack': 'R1',
      'opt/org.example/joboutputs': 'https://192.0.2.1/jo/',
      'opt/com.coreos/config': '{"secret":1}',
      'opt/org.example/notmachinefeatures/hs06': '1',
      'etc/machinefeatures/total_cpu': '99',
    };
    assert.deepEqual(await said({ fwCfg: given }), [
      'job/job_id=vm-17\n',
      'joboutputs -> https://192.0.2.1/jo',
      'machine/mjf_rack=R1',
      'machine/shutdowntime=1766440000',
    ]);
  });

  it('systemd credentials that the host gives are named by their dots', async () => {
    assert.deepEqual(
      await said({ fwCfg: { 'opt/io.systemd.credentials/mjf.machinefeatures.shutdowntime': '1766440000' } }),
      ['machine/shutdowntime=1766440000'],
    );
  });

  it('old names keep their capitals; a value with the NUL of a C string is that value', async () => {
    assert.deepEqual(await said({ fwCfg: { 'opt/a/jobfeatures/mem_limit_MB': '2000\0' } }), ['job/mem_limit_MB=2000']);
  });

  it('what is no text, or too long, is a fault of its key alone', async () => {
    const fwCfg = {
      'opt/a/machinefeatures/hs06': Buffer.from([0xff, 0xfe]),
      'opt/a/machinefeatures/shutdowntime': '1'.repeat(20_000),
      'opt/a/machinefeatures/total_cpu': '8',
    };
    assert.deepEqual(await said({ fwCfg }), [
      'machine/hs06 unknown',
      'machine/shutdowntime unknown',
      'machine/total_cpu=8',
    ]);
  });

  it('a tree without end is looked at only so far', () => {
    const { root } = makeRoot({});
    const opt = path.join(root, 'sys/firmware/qemu_fw_cfg/by_name/opt');
    fs.mkdirSync(opt, { recursive: true });
    fs.symlinkSync('.', path.join(opt, 'a'));
    fs.symlinkSync('.', path.join(opt, 'b'));
    assert.deepEqual(fwCfgPlace(root).words, []);
    const deep = path.join(opt, ...'cdefghijkl'.split(''), 'machinefeatures', 'total_cpu');
    fs.mkdirSync(deep, { recursive: true });
    fs.writeFileSync(path.join(deep, 'raw'), '8');
    assert.deepEqual(fwCfgPlace(root).words, []);
  });
});

describe('more than a site can mean', () => {
  const FLOOD = Array.from({ length: 200 }, (_, n) => `a${String(n).padStart(3, '0')}`);
  const flooded = (of: (key: string) => string) => Object.fromEntries(FLOOD.map((key) => [of(key), 'x']));
  const KNOWN = { jobfeatures: '/jf', 'machinefeatures/shutdowntime': '1766440000', 'jobfeatures/job_id': 'vm-17' };
  const EXPECTED = ['job/job_id=vm-17', 'jobfeatures -> /jf', 'machine/shutdowntime=1766440000'];
  const isFlood = (line: string): boolean => /^machine\/mjf_a\d/.test(line);

  for (const [name, given] of [
    [
      'fw_cfg files',
      {
        fwCfg: {
          ...flooded((key) => `opt/a/machinefeatures/${key}`),
          // Each below a name of its own: what is a file is no directory.
          ...Object.fromEntries(Object.entries(KNOWN).map(([key, value], n) => [`opt/z${n}/${key}`, value])),
        },
      },
    ],
    [
      'OEM strings',
      {
        oem: [
          ...FLOOD.map((key) => `machinefeatures/${key}=x`),
          ...Object.entries(KNOWN).map((pair) => pair.join('=')),
        ],
      },
    ],
    [
      'credentials',
      {
        credentials: {
          ...flooded((key) => `mjf.machinefeatures.${key}`),
          ...Object.fromEntries(Object.entries(KNOWN).map(([key, value]) => [`mjf.${key.replace('/', '.')}`, value])),
        },
      },
    ],
  ] as const)
    it(`${name}: what is known passes, and what was cut is not said to be absent`, async () => {
      const lines = await said(given);
      assert.deepEqual(
        lines.filter((line) => !isFlood(line)),
        EXPECTED,
      );
      assert.equal(lines.filter(isFlood).length, 128);
      assert.deepEqual(await isComplete(given), [false, false]);
    });

  it('all that a site means is complete', async () => {
    assert.deepEqual(await isComplete({ oem: ['machinefeatures/shutdowntime=1', 'machinefeatures/rack=R1'] }), [
      true,
      true,
    ]);
  });

  it('a directory of thousands of names: ours are looked at first, and it is not complete', async () => {
    const others = Object.fromEntries(
      Array.from({ length: 1_100 }, (_, n) => [`opt/a/machinefeatures/a${n}`, 'x'] as const),
    );
    const given = { fwCfg: { ...others, 'opt/a/machinefeatures/shutdowntime': '1766440000' } };
    assert.deepEqual(
      (await said(given)).filter((line) => !isFlood(line)),
      ['machine/shutdowntime=1766440000'],
    );
    assert.deepEqual(await isComplete(given), [false, false]);
    const beside = Object.fromEntries(Array.from({ length: 1_100 }, (_, n) => [`opt/a${n}/x`, 'x'] as const));
    const below = { fwCfg: { ...beside, 'opt/machinefeatures/shutdowntime': '1766440000' } };
    assert.deepEqual(await said(below), ['machine/shutdowntime=1766440000']);
    assert.deepEqual(await isComplete(below), [false, false]);
  });
});

describe('OEM strings', () => {
  it('with anything before a colon or a slash, and as credentials of systemd', async () => {
    const oem = [
      'Dell System',
      'machinefeatures/shutdowntime=1766440000',
      'org.example:jobfeatures/job_id=vm=17',
      'org.example/site/machinefeatures/rack=R1',
      'machinefeatures=http://192.0.2.1/m',
      'io.systemd.credential:mjf.jobfeatures.wall_limit_secs=3600',
      'notmachinefeatures/total_cpu=8',
      'userdata=machinefeatures/total_cpu=8',
      Buffer.from([0xff]),
    ];
    assert.deepEqual(await said({ oem }), [
      'job/job_id=vm=17',
      'job/wall_limit_secs=3600',
      'machine/mjf_rack=R1',
      'machine/shutdowntime=1766440000',
      'machinefeatures -> http://192.0.2.1/m',
    ]);
  });

  it('are found in the whole table where the kernel shows no single structures', async () => {
    const table = Buffer.concat([
      structure(0, ['SeaBIOS', '1.16'], Buffer.alloc(20)),
      structure(16, [], Buffer.alloc(19)),
      structure(1, ['machinefeatures/total_cpu=99']),
      structure(11, ['machinefeatures/total_cpu=8']),
      structure(127, [], Buffer.alloc(0)),
      Buffer.from('padding that is nobody’s'),
    ]);
    assert.deepEqual(await said({ table }), ['machine/total_cpu=8']);
  });

  const good = structure(11, ['machinefeatures/total_cpu=8', 'b']);
  for (const [name, bytes] of [
    ['cut off in its header', good.subarray(0, 1)],
    ['cut off before its texts', good.subarray(0, 5)],
    ['cut off in a text', good.subarray(0, 12)],
    ['cut off before its last NUL', good.subarray(0, good.length - 1)],
    ['shorter than its own header', Buffer.from([11, 3, 0, 1, 0, 0])],
    ['longer than there is', Buffer.from([11, 200, 0, 1, 0, 0])],
  ] as const)
    it(`a structure ${name} is an error, not half a truth`, async () => {
      assert.throws(() => oemStrings(bytes), { code: 'bad_smbios' });
      await assert.rejects(read({ oem: bytes }), { code: 'bad_smbios', message: /dmi\/entries\/11-0/ });
    });

  it('no bytes are too odd to come to an end', () => {
    let seed = 7;
    for (let i = 0; i < 3000; i += 1) {
      const bytes = Buffer.alloc(i % 60);
      for (let at = 0; at < bytes.length; at += 1) {
        seed = (seed * 1103515245 + 12345) % 2147483648;
        // Zeros and small lengths are what structures are made of.
        bytes[at] = seed % 3 === 0 ? 0 : (seed >> 8) % (seed % 5 === 0 ? 256 : 12);
      }
      try {
        for (const text of oemStrings(bytes)) assert.ok(!text.includes('\0'));
      } catch (error) {
        assert.equal(error instanceof Error && 'code' in error && error.code, 'bad_smbios');
      }
    }
  });

  it('a broken structure takes no fw_cfg key along', async () => {
    const given = { oem: good.subarray(0, 12), fwCfg: { 'opt/a/machinefeatures/total_cpu': '8' } };
    assert.deepEqual(await said(given), ['machine/total_cpu=8']);
    const result = await read(given);
    assert.ok(result.outcome === 'answer');
    assert.equal(result.answer.machine?.complete, false, 'what the structure would have said is not absent');
  });
});

describe('credentials of the unit', () => {
  it('by their dots, or as systemd names the files of a directory; empty ones say that the host has said nothing', async () => {
    assert.deepEqual(
      await said({
        credentials: {
          'mjf.machinefeatures.shutdowntime': '1766440000',
          mjf_jobfeatures_job_id_raw: 'vm-17',
          'mjf.jobfeatures.wall_limit_secs': '',
          'mjf.joboutputs': '/run/jo',
          dmi: '4c4c4544',
          'other.machinefeatures.total_cpu': '8',
        },
      }),
      ['job/job_id=vm-17', 'job/wall_limit_secs absent', 'joboutputs -> /run/jo', 'machine/shutdowntime=1766440000'],
    );
  });
  it('a directory that is no path, or is not there, is none', () => {
    assert.deepEqual(
      [credentialPlace('relative'), credentialPlace('/nonexistent'), credentialPlace(undefined)],
      [{ words: [] }, { words: [] }, { words: [] }],
    );
  });
});

it('of the same name in several places fw_cfg counts, then the credential, then the OEM string', async () => {
  const oem = ['machinefeatures/hs06=3', 'machinefeatures/total_cpu=3', 'machinefeatures/rack=3'];
  const credentials = { 'mjf.machinefeatures.hs06': '2', 'mjf.machinefeatures.total_cpu': '2' };
  const fwCfg = { 'opt/a/machinefeatures/hs06': '1' };
  assert.deepEqual(await said({ oem, credentials, fwCfg }), [
    'machine/hs06=1',
    'machine/mjf_rack=3',
    'machine/total_cpu=2',
  ]);
});

describe('nothing of ours', () => {
  it('is no channel', async () => {
    for (const given of [{}, { fwCfg: { 'opt/com.coreos/config': 'x' } }, { oem: ['Dell System'] }]) {
      const result = await read(given);
      assert.ok(result.outcome === 'no_channel');
      assert.match(result.detail, /no fw_cfg file and no OEM string/);
    }
  });

  /** As another user: root may read everything. */
  function asNobody<T>(run: () => T): T {
    const { geteuid, seteuid } = process;
    if (geteuid === undefined || seteuid === undefined || geteuid.call(process) !== 0) return run();
    seteuid.call(process, 65534);
    try {
      return run();
    } finally {
      seteuid.call(process, 0);
    }
  }

  it('or may not be read: no channel, with the lines of the unit that would help', async () => {
    const made = makeRoot({ fwCfg: { 'opt/a/machinefeatures/shutdowntime': '1766440000' }, oem: ['x'] });
    fs.chmodSync(made.root, 0o755);
    const raws = ['sys/firmware/qemu_fw_cfg/by_key/32/raw', 'sys/firmware/dmi/entries/11-0/raw'];
    for (const raw of raws) fs.chmodSync(path.join(made.root, raw), 0);
    const [source] = qemuSource.create({}, sourceEnvironment(made));
    assert.ok(source);
    const result = await asNobody(() => source.read({ signal: AbortSignal.timeout(1000), fresh: false }));
    assert.ok(result.outcome === 'no_channel');
    assert.match(result.detail, /gives machinefeatures\/shutdowntime, which root alone may read/);
    assert.match(result.detail, /LoadCredential=mjf\.machinefeatures\.shutdowntime:\S+\/raw and SetCredential=/);
    assert.equal(asNobody(() => oemStringsPlace(made.root)).denied, path.join(made.root, raws[1] ?? ''));
    // The same with the credential in place: what the agent may read counts.
    const credentials = path.join(made.root, 'credentials');
    fs.mkdirSync(credentials);
    fs.writeFileSync(path.join(credentials, 'mjf.machinefeatures.shutdowntime'), '1766440000');
    const env = { CREDENTIALS_DIRECTORY: credentials };
    const [handed] = qemuSource.create({}, sourceEnvironment({ ...made, env }));
    assert.ok(handed);
    const good = await asNobody(() => handed.read({ signal: AbortSignal.timeout(1000), fresh: false }));
    assert.ok(good.outcome === 'answer');
    assert.deepEqual(good.answer.machine, {
      channel: 'firmware',
      complete: false,
      keys: { shutdowntime: { is: 'present', value: '1766440000' } },
    });
  });
});

it('probe hears of each place, without any content', async () => {
  const entries: TraceEntry[] = [];
  await read({ fwCfg: { 'opt/a/machinefeatures/shutdowntime': '1766440000' } }, (entry) => entries.push(entry));
  assert.deepEqual(
    entries.map(({ asked, answered }) => `${asked}: ${answered}`),
    [
      '/sys/firmware/qemu_fw_cfg/by_name/opt: 1 of ours',
      '$CREDENTIALS_DIRECTORY: 0 of ours',
      '/sys/firmware/dmi/entries/11-*: 0 of ours',
    ],
  );
});

describe('detection', () => {
  const made = (given: Given, dmi: Readonly<Record<string, string>> = {}) => {
    const { root } = makeRoot(given);
    for (const [field, text] of Object.entries(dmi)) {
      fs.mkdirSync(path.join(root, 'sys/class/dmi/id'), { recursive: true });
      fs.writeFileSync(path.join(root, 'sys/class/dmi/id', field), `${text}\n`);
    }
    const environment = sourceEnvironment({ root, facts: readMachineFacts(root) });
    return createSources({ sources: 'auto', source: {} }, environment, { only: ({ name }) => name === 'qemu' }).length;
  };
  for (const [name, count, given, dmi] of [
    ['fw_cfg', 1, { fwCfg: { 'opt/a/b': 'x' } }, {}],
    ['the vendor', 1, {}, { sys_vendor: 'QEMU' }],
    ['OEM strings on any machine', 1, { oem: ['x'] }, {}],
    ['nothing of these', 0, {}, { sys_vendor: 'Dell Inc.' }],
  ] as const)
    it(`by ${name}: ${count}`, () => assert.equal(made(given, dmi), count));
});

it('through the driver and the heart: read once, published, and a time that is over by the next boot is not acted on', async () => {
  const heart = history({ sources: [sourceInfo('qemu', 'platform', 0)] });
  const given = makeRoot({
    fwCfg: { 'opt/a/machinefeatures/shutdowntime': secs(START + 7_200_000), 'opt/a/machinefeatures/rack': 'R1' },
  });
  const [source] = qemuSource.create({}, sourceEnvironment(given));
  assert.ok(source);
  const observation = await new Promise<Observation>((resolve) => {
    const driver = startDriver(source, {
      emit(each) {
        resolve(each);
        driver.stop();
      },
      log: sourceEnvironment().log,
      clock: systemClock,
      count: () => undefined,
    });
  });
  heart.send({ type: 'observation', observation });
  assert.deepEqual([heart.phase(), heart.snapshot().deadlineMs], ['running', START + 7_200_000]);
  assert.equal(heart.machine('rack'), 'R1');
  heart.until(START + 7_200_000 - 60_000);
  assert.equal(heart.phase(), 'stopped', 'stopping, and nothing is there to be stopped');
  heart.restart({ reboot: true, downMs: 120_000 });
  heart.send({ type: 'observation', observation });
  assert.equal(heart.phase(), 'running');
  assert.equal(heart.notice('qemu/shutdowntime').expired, true);
});
