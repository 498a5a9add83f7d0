import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, it, type TestContext } from 'node:test';
import { directorySource } from '../../agent/sources/directory.ts';
import { type Source, SourceError } from '../../agent/sources/source.ts';
import { answerOf, createFixture, type Fixture, present, read, sideOf, unknown } from './directory-fixture.ts';

let fixture: Fixture;
beforeEach(() => {
  fixture = createFixture();
});
afterEach(() => fixture.remove());

const MF = 'etc/machinefeatures';
const JF = 'etc/jobfeatures';
const failsWith = (code: string) => (error: unknown) => error instanceof SourceError && error.code === code;
const isRoot = process.getuid?.() === 0;

describe('which directories are read', () => {
  it('S1.6 a channel that never was is no_channel, not a failure, and is found when the host comes late', async () => {
    const source = fixture.source();
    assert.equal((await read(source)).outcome, 'no_channel');
    fixture.write(`${JF}/job_id`, 'vm-17\n');
    assert.deepEqual(Object.keys(await answerOf(source)), ['job']);
    fixture.write(`${MF}/total_cpu`, '8\n');
    assert.deepEqual(Object.keys(await answerOf(source)), ['machine', 'job']);
  });

  it('prefers /etc, falls to /run/mjf-host for each side by itself', async () => {
    fixture.write(`${MF}/total_cpu`, '8');
    fixture.write('run/mjf-host/machinefeatures/total_cpu', '9');
    fixture.write('run/mjf-host/jobfeatures/job_id', 'x');
    const answer = await answerOf(fixture.source());
    assert.deepEqual(answer.machine?.keys, { total_cpu: present('8') });
    assert.deepEqual(answer.job?.keys, { job_id: present('x') });
  });

  it('lets an empty mount point in /etc not hide the keys in /run/mjf-host', async () => {
    fs.mkdirSync(fixture.at(MF), { recursive: true });
    const source = fixture.source();
    assert.deepEqual((await sideOf(source)).keys, {});
    fixture.write('run/mjf-host/machinefeatures/total_cpu', '9');
    assert.deepEqual((await sideOf(source)).keys, { total_cpu: present('9') });
  });

  it('reads what absolute variables name, and nothing else for that side', async () => {
    fixture.write(`${MF}/total_cpu`, '8');
    fixture.write('host/mf/total_cpu', '4');
    assert.deepEqual((await sideOf(fixture.source({}, { MACHINEFEATURES: fixture.at('host/mf') }))).keys, {
      total_cpu: present('4'),
    });
    assert.equal((await read(fixture.source({}, { MACHINEFEATURES: fixture.at('none') }))).outcome, 'no_channel');
  });

  it('leaves URLs and relative paths in the variables alone and looks in the usual places', async () => {
    fixture.write(`${MF}/total_cpu`, '8');
    for (const value of ['http://169.254.169.253/machinefeatures', 'https://x/mf', 'host/mf', '']) {
      assert.deepEqual((await sideOf(fixture.source({}, { MACHINEFEATURES: value }))).keys, {
        total_cpu: present('8'),
      });
    }
  });

  it('takes configuration before variables and usual places', async () => {
    fixture.write(`${MF}/total_cpu`, '8');
    fixture.write('mine/total_cpu', '2');
    const source = fixture.source({ machinefeatures: fixture.at('mine') }, { MACHINEFEATURES: fixture.at(MF) });
    assert.deepEqual((await sideOf(source)).keys, { total_cpu: present('2') });
  });

  it('never reads its own output: by variable, link, configuration or bind mount', async (t) => {
    fixture.write('run/mjf-agent/machinefeatures/total_cpu', '8');
    fixture.write('run/mjf-agent/jobfeatures/job_id', 'x');
    const own = fixture.at('run/mjf-agent/machinefeatures');
    fs.mkdirSync(fixture.at('etc'));
    fs.symlinkSync(own, fixture.at(MF));
    fs.symlinkSync('../run/mjf-agent/jobfeatures', fixture.at(JF));
    for (const source of [
      fixture.source({}, { MACHINEFEATURES: own }),
      fixture.source({}, { MACHINEFEATURES: fixture.at(MF) }),
      fixture.source({ machinefeatures: own, reader: 'child' }),
      fixture.source({ machinefeatures: fixture.at(MF), reader: 'inline' }),
    ]) {
      assert.equal((await read(source)).outcome, 'no_channel');
    }
    // The variable leads to ourselves, the host's place does not.
    fixture.write('run/mjf-host/machinefeatures/total_cpu', '4');
    const keys = (await sideOf(fixture.source({}, { MACHINEFEATURES: own }))).keys;
    assert.deepEqual(keys, { total_cpu: present('4') });

    const bound = fixture.at('bound');
    fs.mkdirSync(bound);
    if (spawnSync('mount', ['--bind', own, bound]).status !== 0) return t.diagnostic('no bind mounts here: not shown');
    try {
      assert.equal((await read(fixture.source({ machinefeatures: bound }))).outcome, 'no_channel');
    } finally {
      assert.equal(spawnSync('umount', [bound]).status, 0);
    }
  });

  it('knows its own output through a link to the runtime directory', async () => {
    fixture.write('real-run/machinefeatures/total_cpu', '8');
    fs.mkdirSync(fixture.at('run'));
    fs.symlinkSync('../real-run', fixture.runtimeDir);
    const source = fixture.source({ machinefeatures: fixture.at('real-run/machinefeatures') });
    assert.equal((await read(source)).outcome, 'no_channel');
  });
});

describe('what is read of a directory', () => {
  it('S1.6 names the file system as the channel and gives raw text', async () => {
    fixture.write(`${MF}/shutdowntime`, ' 1766440000\r\n');
    fixture.write(`${MF}/hs06`, '');
    const reading = await sideOf(fixture.source());
    assert.ok(reading.channel.startsWith(`dev:${fs.statSync(fixture.at(MF), { bigint: true }).dev}@/`));
    assert.equal(reading.complete, true);
    assert.deepEqual(reading.keys, { shutdowntime: present(' 1766440000\r\n'), hs06: present('') });
  });

  it('takes legal names with capitals, and ignores all others with one debug line', async () => {
    for (const name of ['mem_limit_MB', 'x1', 'a'.repeat(64)]) fixture.write(`${MF}/${name}`, '1');
    for (const name of ['.hidden', 'a~', 'b.swp', '#c#', 'd e', 'ü', '__proto__', 'a'.repeat(65), 'key-dash']) {
      fixture.write(`${MF}/${name}`, '1');
    }
    const source = fixture.source();
    for (let round = 0; round < 3; round += 1) {
      assert.deepEqual(Object.keys((await sideOf(source)).keys).sort(), ['a'.repeat(64), 'mem_limit_MB', 'x1']);
    }
    assert.equal(fixture.log.filter(({ event }) => event === 'directory_names_ignored').length, 1);
  });

  it('takes 4096 bytes, calls more too_large, and is not filled by 1 MB of garbage', async () => {
    fixture.write(`${MF}/just`, 'x'.repeat(4096));
    fixture.write(`${MF}/over`, 'x'.repeat(4097));
    fixture.write(`${MF}/garbage`, Buffer.alloc(1024 * 1024, 0xfe));
    const { keys } = await sideOf(fixture.source());
    assert.deepEqual(keys, {
      just: present('x'.repeat(4096)),
      over: unknown('too_large'),
      garbage: unknown('too_large'),
    });
  });

  it('calls binary content not_text', async () => {
    fixture.write(`${MF}/nul`, Buffer.from([0x31, 0, 0x32]));
    fixture.write(`${MF}/latin`, Buffer.from([0xe9, 0x0a]));
    fixture.write(`${MF}/utf`, 'é\n');
    const { keys } = await sideOf(fixture.source());
    assert.deepEqual(keys, { nul: unknown('not_text'), latin: unknown('not_text'), utf: present('é\n') });
  });

  it('opens neither directories nor FIFOs nor sockets nor devices, directly or behind a link', async (t) => {
    const opened = t.mock.method(fs, 'openSync');
    fixture.write(`${MF}/total_cpu`, '8');
    fs.mkdirSync(fixture.at(MF, 'hs06'));
    assert.equal(spawnSync('mkfifo', [fixture.at(MF, 'fifo')]).status, 0);
    fs.symlinkSync('fifo', fixture.at(MF, 'to_fifo'));
    const { keys } = await sideOf(fixture.source());
    assert.deepEqual(keys, {
      total_cpu: present('8'),
      hs06: unknown('not_a_file'),
      fifo: unknown('not_a_file'),
      to_fifo: unknown('not_a_file'),
    });
    const files = opened.mock.calls.map(({ arguments: [file] }) => path.basename(String(file)));
    assert.ok(files.includes('total_cpu'));
    assert.deepEqual(
      files.filter((file) => file === 'fifo' || file === 'to_fifo' || file === 'hs06'),
      [],
    );
  });

  it('follows links to local files; others are unknown, own output is not there at all', async () => {
    fixture.write('elsewhere/value', '8');
    fixture.write('run/mjf-agent/machinefeatures/total_cpu', '8');
    fs.mkdirSync(fixture.at(MF), { recursive: true });
    fs.symlinkSync('../../elsewhere/value', fixture.at(MF, 'good'));
    fs.symlinkSync('loop', fixture.at(MF, 'loop'));
    fs.symlinkSync('nowhere', fixture.at(MF, 'dangling'));
    fs.symlinkSync('/proc/uptime', fixture.at(MF, 'uptime'));
    fs.symlinkSync('../../run/mjf-agent/machinefeatures/total_cpu', fixture.at(MF, 'own'));
    const expected = {
      good: present('8'),
      loop: unknown('link_loop'),
      dangling: unknown('dangling_link'),
      uptime: unknown('foreign_link'),
    };
    assert.deepEqual((await sideOf(fixture.source())).keys, expected);
    assert.deepEqual((await sideOf(fixture.source({ reader: 'child' }))).keys, expected);
  });

  it('sees one version or the other when ..data flips, as kubernetes does it', async () => {
    const flip = (version: string) => {
      fixture.write(`${MF}/..${version}/shutdowntime`, version);
      fs.symlinkSync(`..${version}`, fixture.at(MF, '..data_tmp'));
      fs.renameSync(fixture.at(MF, '..data_tmp'), fixture.at(MF, '..data'));
    };
    flip('1766440000');
    fs.symlinkSync('..data/shutdowntime', fixture.at(MF, 'shutdowntime'));
    const source = fixture.source();
    assert.deepEqual((await sideOf(source)).keys, { shutdowntime: present('1766440000') });
    flip('1766450000');
    fs.rmSync(fixture.at(MF, '..1766440000'), { recursive: true });
    assert.deepEqual((await sideOf(source)).keys, { shutdowntime: present('1766450000') });
  });

  it('reads again when the directory changes underneath: a file gone between listing and reading', async (t) => {
    fixture.write(`${MF}/aa`, '1');
    fixture.write(`${MF}/bb`, '2');
    const open = fs.openSync;
    let once = true;
    t.mock.method(fs, 'openSync', (...args: Parameters<typeof fs.openSync>) => {
      if (once && String(args[0]).startsWith(fixture.at(MF))) {
        once = false;
        fs.renameSync(fixture.at(MF, 'aa'), fixture.at(MF, 'cc'));
      }
      return open(...args);
    });
    const { keys, complete } = await sideOf(fixture.source());
    assert.deepEqual([keys, complete], [{ bb: present('2'), cc: present('1') }, true]);
  });

  it('bounds 5,000 entries: known keys always, then the first, incomplete, one warning', async () => {
    fs.mkdirSync(fixture.at(MF), { recursive: true });
    fixture.write(`${MF}/k`, '1');
    // Links to one file: making 5,000 files takes seconds on some disks.
    for (let i = 0; i < 5000; i += 1) fs.linkSync(fixture.at(MF, 'k'), fixture.at(MF, `k${i}`));
    fixture.write(`${MF}/shutdowntime`, '1766440000');
    const source = fixture.source();
    for (let round = 0; round < 2; round += 1) {
      const { keys, complete } = await sideOf(source);
      assert.equal(complete, false);
      assert.deepEqual(keys['shutdowntime'], present('1766440000'));
      // Absence must be said where it is known, or a shutdown could never be cleared here.
      assert.deepEqual(keys['shutdowntime_job'], { is: 'absent' });
      assert.ok(Object.keys(keys).length <= 1024);
    }
    assert.equal(fixture.log.filter(({ event }) => event === 'directory_overfull').length, 1);
  });

  it('bounds all values together, the known keys first', async () => {
    for (let i = 0; i < 70; i += 1) fixture.write(`${MF}/a${i}`, 'x'.repeat(4096));
    fixture.write(`${MF}/shutdowntime`, '1766440000');
    const { keys } = await sideOf(fixture.source());
    assert.deepEqual(keys['shutdowntime'], present('1766440000'));
    const tooLarge = Object.values(keys).filter((key) => key.is === 'unknown' && key.error === 'too_large');
    assert.equal(tooLarge.length, 70 - 63);
  });

  it('turns errors of the system into codes: of one key', async (t) => {
    for (const name of ['ok', 'eacces', 'estale', 'eio', 'enotconn', 'enoent']) fixture.write(`${MF}/${name}`, '1');
    const open = fs.openSync;
    t.mock.method(fs, 'openSync', (...args: Parameters<typeof fs.openSync>) => {
      const name = path.basename(String(args[0]));
      if (name.startsWith('e')) throw Object.assign(new Error(name), { code: name.toUpperCase() });
      return open(...args);
    });
    assert.deepEqual((await sideOf(fixture.source())).keys, {
      ok: present('1'),
      eacces: unknown('permission'),
      estale: unknown('estale'),
      eio: unknown('eio'),
      enotconn: unknown('enotconn'),
      enoent: { is: 'absent' },
    });
  });
});

describe('when a directory fails', () => {
  it('S1.6 once read, a missing directory is a failure and not absence, and it recovers', async () => {
    fixture.write(`${MF}/total_cpu`, '8');
    const source = fixture.source();
    await sideOf(source);
    fs.renameSync(fixture.at(MF), fixture.at('etc/away'));
    await assert.rejects(read(source), failsWith('directory_missing'));
    await assert.rejects(read(source), failsWith('directory_missing'));
    fs.renameSync(fixture.at('etc/away'), fixture.at(MF));
    assert.deepEqual((await sideOf(source)).keys, { total_cpu: present('8') });
    const events = fixture.log.map(({ event }) => event);
    assert.deepEqual(events, ['directory_side_failed', 'directory_side_recovered']);
  });

  it('does not go over to another place when the one that was read is gone', async () => {
    fixture.write(`${MF}/total_cpu`, '8');
    const source = fixture.source();
    await sideOf(source);
    fs.rmSync(fixture.at(MF), { recursive: true });
    fixture.write('run/mjf-host/machinefeatures/total_cpu', '4');
    await assert.rejects(read(source), failsWith('directory_missing'));
  });

  it('S1.6 one side failing beside a good one: its known keys are unknown, nothing is cleared', async () => {
    fixture.write(`${MF}/total_cpu`, '8');
    fixture.write(`${JF}/job_id`, 'x');
    fixture.write(`${JF}/shutdowntime_job`, '1766440000');
    const source = fixture.source();
    const before = await sideOf(source, 'job');
    fs.rmSync(fixture.at(JF), { recursive: true });
    const answer = await answerOf(source);
    assert.deepEqual(answer.machine?.keys, { total_cpu: present('8') });
    assert.deepEqual(answer.job, {
      channel: before.channel,
      complete: false,
      keys: { job_id: unknown('directory_missing'), shutdowntime_job: unknown('directory_missing') },
    });
  });

  it('shows a side that never could be read beside a good one', async () => {
    fixture.write(`${MF}/total_cpu`, '8');
    fixture.write(JF, 'a file in the way');
    const answer = await answerOf(fixture.source());
    assert.deepEqual(answer.job?.keys, { shutdowntime_job: unknown('not_a_directory') });
    assert.equal(answer.job?.complete, false);
  });

  it('fails with the code of the listing', async (t) => {
    fixture.write(`${MF}/total_cpu`, '8');
    for (const [errno, code] of [
      ['EACCES', 'permission'],
      ['ESTALE', 'estale'],
      ['EIO', 'eio'],
    ] as const) {
      const mock = t.mock.method(fs, 'opendirSync', () => {
        throw Object.assign(new Error('no'), { code: errno });
      });
      await assert.rejects(read(fixture.source()), failsWith(code));
      mock.mock.restore();
    }
  });

  it('survives the real wrong permissions', { skip: isRoot && 'root may read everything' }, async () => {
    fixture.write(`${MF}/total_cpu`, '8');
    fs.chmodSync(fixture.at(MF), 0);
    await assert.rejects(read(fixture.source()), failsWith('permission'));
    fs.chmodSync(fixture.at(MF), 0o755);
  });
});

describe('change notification', () => {
  /** A source that is watched, and the next call of `changed` as something to wait for. */
  async function watched(source: Source) {
    const abort = new AbortController();
    let calls = 0;
    let wake: (() => void) | undefined;
    source.watch?.(() => {
      calls += 1;
      wake?.();
    }, abort.signal);
    await read(source);
    return {
      calls: () => calls,
      abort: () => abort.abort(),
      // The source keeps no event loop alive, so the bound does.
      next: () =>
        new Promise<void>((resolve, reject) => {
          const timer = setTimeout(() => reject(new Error('changed was not called')), 10_000);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        }),
    };
  }

  it('a rename on the host calls changed, and only while watched', async () => {
    fixture.write(`${MF}/total_cpu`, '8');
    const source = fixture.source();
    const watch = await watched(source);
    const next = watch.next();
    fixture.write(`${MF}/shutdowntime`, '1766440000');
    await next;
    assert.deepEqual((await sideOf(source)).keys['shutdowntime'], present('1766440000'));
    watch.abort();
    const calls = watch.calls();
    // A watch of our own on the same directory shows that the event has come round.
    const other = fs.watch(fixture.at(MF));
    fixture.write(`${MF}/shutdowntime`, '1766450000');
    await once(other, 'change');
    other.close();
    assert.equal(watch.calls(), calls);
  });

  it('several renames in one turn are one call', async () => {
    fixture.write(`${MF}/total_cpu`, '8');
    const watch = await watched(fixture.source());
    const next = watch.next();
    for (let i = 0; i < 10; i += 1) fixture.write(`${MF}/total_cpu`, `${i}`);
    await next;
    await new Promise(setImmediate);
    assert.equal(watch.calls(), 1);
    watch.abort();
  });

  it('notices the flip of ..data, but not a temporary file of a writer', async () => {
    fixture.write(`${MF}/..1/total_cpu`, '8');
    fs.symlinkSync('..1', fixture.at(MF, '..data'));
    fs.symlinkSync('..data/total_cpu', fixture.at(MF, 'total_cpu'));
    const watch = await watched(fixture.source());
    const other = fs.watch(fixture.at(MF));
    fs.writeFileSync(fixture.at(MF, '.total_cpu.tmp'), '9');
    await once(other, 'change');
    other.close();
    await new Promise(setImmediate);
    assert.equal(watch.calls(), 0);
    const next = watch.next();
    fs.symlinkSync('..2', fixture.at(MF, '..data_tmp'));
    fs.renameSync(fixture.at(MF, '..data_tmp'), fixture.at(MF, '..data'));
    await next;
    watch.abort();
  });

  for (const [how, replace] of [
    [
      'removed and made again',
      (dir: string) => {
        fs.rmSync(dir, { recursive: true });
        fs.mkdirSync(dir);
      },
    ],
    [
      'exchanged for another by rename',
      (dir: string) => {
        fs.mkdirSync(`${dir}.new`);
        fs.renameSync(dir, `${dir}.old`);
        fs.renameSync(`${dir}.new`, dir);
      },
    ],
  ] as const) {
    it(`is set up anew when the directory is ${how}`, async () => {
      fixture.write(`${MF}/total_cpu`, '8');
      const source = fixture.source();
      const watch = await watched(source);
      const gone = watch.next();
      replace(fixture.at(MF));
      await gone;
      await sideOf(source);
      const next = watch.next();
      fixture.write(`${MF}/total_cpu`, '4');
      await next;
      assert.deepEqual((await sideOf(source)).keys, { total_cpu: present('4') });
      watch.abort();
    });
  }

  it('is set up anew when something is mounted over the directory', async (t) => {
    fixture.write(`${MF}/total_cpu`, '8');
    const source = fixture.source();
    const watch = await watched(source);
    const before = (await sideOf(source)).channel;
    if (spawnSync('mount', ['-t', 'tmpfs', 'none', fixture.at(MF)]).status !== 0) {
      watch.abort();
      return t.skip('cannot mount here (not root)');
    }
    try {
      const after = await sideOf(source);
      assert.notEqual(after.channel, before);
      const next = watch.next();
      fixture.write(`${MF}/total_cpu`, '4');
      await next;
      assert.deepEqual((await sideOf(source)).keys, { total_cpu: present('4') });
    } finally {
      watch.abort();
      assert.equal(spawnSync('umount', [fixture.at(MF)]).status, 0);
    }
  });

  it('the poll finds every change without a watch, also of a file written in place', async (t) => {
    t.mock.method(fs, 'watch', () => {
      throw Object.assign(new Error('no watches left'), { code: 'ENOSPC' });
    });
    fixture.write(`${MF}/total_cpu`, '8');
    const source = fixture.source();
    const watch = await watched(source);
    fs.writeFileSync(fixture.at(MF, 'total_cpu'), '4');
    assert.deepEqual((await sideOf(source)).keys, { total_cpu: present('4') });
    fs.rmSync(fixture.at(MF, 'total_cpu'));
    assert.deepEqual((await sideOf(source)).keys, {});
    assert.equal(fixture.log.filter(({ event }) => event === 'directory_not_watched').length, 1);
    watch.abort();
  });
});

describe('the reader child', () => {
  /** A mount table that calls part of this directory tree a share. */
  function pretendShare(...places: readonly string[]): void {
    const lines = places.map((place, i) => `${i + 2} 1 0:9 / ${fixture.at(place)} rw - virtiofs share rw`);
    fixture.write('proc/self/mountinfo', ['1 0 8:1 / / rw - ext4 /dev/vda rw', ...lines, ''].join('\n'));
  }

  /** Every path that this process asks the kernel for from now on. */
  function recordTouches(t: TestContext): readonly string[] {
    const touched: string[] = [];
    for (const name of ['lstatSync', 'statSync', 'opendirSync', 'openSync', 'readlinkSync', 'watch'] as const) {
      const real = fs[name] as (...args: readonly unknown[]) => unknown;
      t.mock.method(fs, name, (...args: readonly unknown[]) => {
        touched.push(String(args[0]));
        return real(...args);
      });
    }
    return touched;
  }

  it('reads a foreign file system, the main process touches nothing of it', async (t) => {
    fixture.write(`${MF}/total_cpu`, '8');
    fixture.write(`${JF}/job_id`, 'x');
    pretendShare(MF);
    const touched = recordTouches(t);
    const source = fixture.source();
    source.watch?.(() => {}, new AbortController().signal);
    const answer = await answerOf(source);
    const { channel, ...said } = answer.machine ?? {};
    assert.equal(channel?.split('@')[0], `dev:${fs.statSync(fixture.at('etc'), { bigint: true }).dev}`);
    assert.deepEqual(said, { complete: true, keys: { total_cpu: present('8') } });
    assert.deepEqual(answer.job?.keys, { job_id: present('x') });
    assert.ok(touched.some((file) => file.startsWith(fixture.at(JF))));
    assert.deepEqual(
      touched.filter((file) => file.startsWith(fixture.at(MF))),
      [],
    );
  });

  it('reads a share behind a link, and a directory with a share mounted on one of its keys', async (t) => {
    fixture.write('share/mf/total_cpu', '8');
    fixture.write(`${JF}/job_id`, 'x');
    fs.symlinkSync('../share/mf', fixture.at(MF));
    pretendShare('share', `${JF}/job_id`);
    const touched = recordTouches(t);
    const answer = await answerOf(fixture.source());
    assert.deepEqual([answer.machine?.keys, answer.job?.keys], [{ total_cpu: present('8') }, { job_id: present('x') }]);
    assert.deepEqual(
      touched.filter((file) => file.startsWith(fixture.at('share')) || file === fixture.at(JF, 'job_id')),
      [],
    );
  });

  it('S1.6 a directory missing on the share is seen as missing, and as a failure once it was read', async () => {
    fs.mkdirSync(fixture.at('share'));
    pretendShare('share');
    const source = fixture.source({ machinefeatures: fixture.at('share/mf') });
    assert.equal((await read(source)).outcome, 'no_channel');
    fixture.write('share/mf/total_cpu', '8');
    await sideOf(source);
    fs.rmSync(fixture.at('share/mf'), { recursive: true });
    await assert.rejects(read(source), failsWith('directory_missing'));
  });

  it('a link on the share to our own output is no source', async () => {
    fixture.write('run/mjf-agent/machinefeatures/total_cpu', '8');
    fs.mkdirSync(fixture.at('share'));
    fs.symlinkSync('../run/mjf-agent/machinefeatures', fixture.at('share/mf'));
    pretendShare('share');
    assert.equal((await read(fixture.source({ machinefeatures: fixture.at('share/mf') }))).outcome, 'no_channel');
  });

  it('is one process for both sides of a mount, and ends when the share is unmounted', async () => {
    fixture.write('share/mf/total_cpu', '8');
    fixture.write('share/jf/job_id', 'x');
    pretendShare('share');
    const config = { machinefeatures: fixture.at('share/mf'), jobfeatures: fixture.at('share/jf') };
    const source = fixture.source(config);
    await answerOf(source);
    await answerOf(source);
    const [pid, ...others] = readersOf(fixture.at('share'));
    assert.deepEqual([typeof pid, others], ['number', []]);
    pretendShare();
    await answerOf(source);
    await goneAfter(pid);
  });

  it('is started again when it dies, and ends with the source', async () => {
    fixture.write(`${MF}/total_cpu`, '8');
    const source = fixture.source({ reader: 'child', machinefeatures: fixture.at(MF) });
    await sideOf(source);
    const mount = mountPointOf(fixture.root);
    const [first] = readersOf(mount);
    assert.ok(first);
    process.kill(first, 'SIGKILL');
    await goneAfter(first);
    await sideOf(source);
    const [second] = readersOf(mount);
    assert.ok(second);
    source.close?.();
    await goneAfter(second);
  });

  it('a child that cannot be started or talks nonsense is reader_failed, without a new start each poll', async () => {
    fixture.write(`${MF}/total_cpu`, '8');
    pretendShare(MF);
    const starts = fixture.at('starts');
    const started = `require('fs').appendFileSync(${JSON.stringify(starts)}, '.');`;
    const listening = 'process.stdin.resume();';
    const answering = (reading: string) =>
      `console.log('{"ready":true}'); process.stdin.once('data', () => console.log('{"id":1,"reading":${reading}}'));`;
    for (const script of [
      `console.log('nonsense'); ${listening}`,
      answering('{"kind":"read","channel":"dev:1","complete":true,"ignored":0}'),
      answering('{"kind":"read","channel":"dev:1","complete":true,"ignored":0,"keys":{"a":{"is":"maybe"}}}'),
      'process.exit(9);',
      `process.stdout.write('x'.repeat(3e6)); ${listening}`,
    ]) {
      fs.writeFileSync(starts, '');
      const self = { command: process.execPath, args: ['-e', started + script, '--'] };
      const [source] = directorySource.create({}, { ...fixture.environment(), self });
      assert.ok(source);
      await assert.rejects(read(source), failsWith('reader_failed'), script);
      await assert.rejects(read(source), failsWith('reader_failed'), script);
      assert.equal(fs.readFileSync(starts, 'utf8'), '.', script);
      source.close?.();
    }
    const self = { command: '/nonexistent/mjf-agent', args: [] };
    const [source] = directorySource.create({}, { ...fixture.environment(), self });
    assert.ok(source);
    await assert.rejects(read(source), failsWith('reader_failed'));
  });

  it('an aborted reading ends at once', async () => {
    fixture.write(`${MF}/total_cpu`, '8');
    pretendShare(MF);
    const source = fixture.source();
    const abort = new AbortController();
    const reading = source.read({ signal: abort.signal, fresh: false });
    abort.abort();
    await assert.rejects(reading, failsWith('aborted'));
    assert.deepEqual((await sideOf(source)).keys, { total_cpu: present('8') });
  });

  /** Readers of this mount whose parent is this process. */
  function readersOf(mountPoint: string): readonly number[] {
    return fs
      .readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
      .filter((pid) => {
        try {
          const args = fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
          const parent = /^PPid:\s+(\d+)$/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
          return args.includes('__read-directory') && args.includes(mountPoint) && Number(parent) === process.pid;
        } catch {
          return false;
        }
      });
  }

  function mountPointOf(file: string): string {
    const { dev } = fs.statSync(file);
    let place = file;
    while (place !== '/' && fs.statSync(path.dirname(place)).dev === dev) place = path.dirname(place);
    return place;
  }

  async function goneAfter(pid: number | undefined): Promise<void> {
    assert.ok(pid);
    const untilMs = performance.now() + 10_000;
    while (isAlive(pid)) {
      assert.ok(performance.now() < untilMs, `process ${pid} is still there`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
  function isAlive(pid: number): boolean {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  }
});

describe('configuration', () => {
  it('polls each second by default, as told otherwise, and never faster than S7 allows', () => {
    const pollOf = (poll?: string) => fixture.source(poll === undefined ? {} : { poll }).poll;
    assert.deepEqual([pollOf(), pollOf('1.5s'), pollOf('10ms')], [1000, 1500, 200]);
    assert.throws(() => fixture.source({ poll: 'soon' }), RangeError);
  });
});
