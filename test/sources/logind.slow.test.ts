/**
 * The source on a real `dbus-daemon` with python3-dbusmock's logind, and on buses that misbehave. What logind's words mean is
 * in logind-shutdown.test.ts.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, before, beforeEach, describe, it, mock } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import esbuild from 'esbuild';
import pino from 'pino';
import { systemClock } from '../../agent/clock.ts';
import type { Observation, Reading, StatedNotice } from '../../agent/lifetime/types.ts';
import { startDriver } from '../../agent/sources/driver.ts';
import { type LogindConfig, logindSource } from '../../agent/sources/logind.ts';
import type { ReadResult, Source, SourceEnvironment, TraceEntry } from '../../agent/sources/source.ts';
import { SourceError } from '../../agent/sources/source.ts';
import { type LogindHost, logindHostLacks, startLogindHost } from '../hosts/logind.ts';
import { type BusManner, type OddBus, startOddBus } from '../hosts/logind-bus.ts';
import { sourceEnvironment } from './environment.ts';

const lacks = logindHostLacks();
/** Generous: nothing waits so long unless something is broken. */
const PATIENCE_MS = 60_000;
const usec = (ms: number): number => ms * 1000;

let opened: Source[] = [];
afterEach(() => {
  for (const source of opened) source.close?.();
  opened = [];
});

function open(config: LogindConfig, given: Partial<SourceEnvironment> = {}) {
  const lines: Record<string, unknown>[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => lines.push(JSON.parse(line)) });
  const [source, ...others] = logindSource.create(config, sourceEnvironment({ log, ...given }));
  assert.ok(source && others.length === 0);
  opened.push(source);
  return { source, lines, events: (event: string) => lines.filter((line) => line['event'] === event) };
}

const read = (source: Source, signal = AbortSignal.timeout(PATIENCE_MS)): Promise<ReadResult> =>
  source.read({ signal, fresh: false });

async function noticeFrom(source: Source): Promise<Reading<StatedNotice>> {
  const result = await read(source);
  if (result.outcome !== 'answer') assert.fail(result.detail);
  assert.deepEqual(Object.keys(result.answer.notices?.byId ?? {}), ['shutdown']);
  return result.answer.notices?.byId['shutdown'] ?? assert.fail('no notice');
}

/** Calls of `changed`, each of which can be awaited. */
function watch(source: Source) {
  const abort = new AbortController();
  let count = 0;
  let wake = (): void => {};
  source.watch?.(() => {
    count += 1;
    wake();
  }, abort.signal);
  return {
    stop: () => abort.abort(),
    count: () => count,
    next: (from = count) =>
      new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error('nothing was pushed')), PATIENCE_MS);
        wake = () => {
          if (count <= from) return;
          clearTimeout(timer);
          resolve();
        };
        wake();
      }),
  };
}

async function failsWith(source: Source, code: string): Promise<void> {
  await assert.rejects(read(source), (error) => error instanceof SourceError && error.code === code);
}

describe('logind on a real bus', { skip: lacks ?? false }, () => {
  let host: LogindHost;
  before(async () => {
    host = await startLogindHost();
  });
  beforeEach(async () => {
    host.thaw();
    await host.stopBus();
    await host.startBus();
  });
  after(() => host.close());

  it('nothing planned is an explicit no', async () => {
    const { source, lines } = open({ bus: host.address });
    assert.deepEqual(await noticeFrom(source), { is: 'negative' });
    assert.deepEqual(lines, []);
  });

  it('PrepareForShutdown is pushed, and ends when the real maximum is over', async () => {
    const { source } = open({ bus: host.address });
    await host.tell('delay 30000000');
    const pushed = watch(source);
    await noticeFrom(source);
    const beforeMs = Date.now();
    await host.tell('begin reboot');
    await pushed.next(0);
    const afterMs = Date.now();
    const first = await noticeFrom(source);
    assert.ok(first.is === 'present' && first.value.deadlineMs !== null);
    assert.equal(first.value.kind, 'reboot');
    assert.ok(first.value.deadlineMs >= beforeMs + 30_000 && first.value.deadlineMs <= afterMs + 30_000);
    assert.deepEqual(await noticeFrom(source), first, 'the next poll says the same');

    const count = pushed.count();
    await host.tell('abort');
    await pushed.next(count);
    assert.deepEqual(await noticeFrom(source), { is: 'negative' });
  });

  it('an agent that starts meanwhile hears of it from the property', async () => {
    await host.tell('begin poweroff');
    const { source } = open({ bus: host.address });
    const notice = await noticeFrom(source);
    assert.ok(notice.is === 'present' && notice.value.onlyEarlier);
  });

  it('a newer logind names the type in its signal', async () => {
    const { source } = open({ bus: host.address });
    const pushed = watch(source);
    await noticeFrom(source);
    await host.tell('begin kexec told');
    await pushed.next(0);
    const notice = await noticeFrom(source);
    assert.ok(notice.is === 'present');
    assert.equal(notice.value.kind, 'reboot');
    assert.equal(notice.value.reason, 'kexec requested');
  });

  it('a logind that only signals is believed until it signals the contrary', async () => {
    const { source } = open({ bus: host.address });
    const pushed = watch(source);
    await noticeFrom(source);
    await host.tell('only-signal true');
    await pushed.next(0);
    for (let poll = 0; poll < 3; poll += 1) assert.equal((await noticeFrom(source)).is, 'present');
    const count = pushed.count();
    await host.tell('only-signal false');
    await pushed.next(count);
    assert.equal((await noticeFrom(source)).is, 'negative');
  });

  it('a schedule is found by asking, follows its changes and its end', async () => {
    const { source } = open({ bus: host.address });
    const atMs = Date.now() + 600_000;
    for (const [type, kind, deadlineMs] of [
      ['poweroff', 'shutdown', atMs],
      ['reboot', 'reboot', atMs + 60_000],
    ] as const) {
      await host.tell(`schedule ${type} ${usec(deadlineMs)}`);
      assert.deepEqual(await noticeFrom(source), {
        is: 'present',
        value: { kind, deadlineMs, reason: `${type} scheduled`, thisBoot: true },
      });
    }
    await host.tell('abort');
    assert.deepEqual(await noticeFrom(source), { is: 'negative' });
  });

  it('a logind that tells of the change need not be asked', async () => {
    const { source } = open({ bus: host.address });
    const pushed = watch(source);
    await noticeFrom(source);
    await host.tell(`announce poweroff ${usec(Date.now() + 600_000)}`);
    await pushed.next(0);
    assert.equal((await noticeFrom(source)).is, 'present');
  });

  it('another user’s signal is no shutdown, to all or to us by name', async () => {
    const { source, events } = open({ bus: host.address });
    await noticeFrom(source);
    assert.notEqual(await host.tell('listeners'), '0');
    await host.tell('forge true');
    assert.deepEqual(await noticeFrom(source), { is: 'negative' });
    await host.tell('only-signal true');
    assert.equal((await noticeFrom(source)).is, 'present');
    await host.tell('forge false');
    assert.equal((await noticeFrom(source)).is, 'present');
    assert.equal(events('logind_foreign_signal').length, 1);
  });

  it('a logind that leaves is no channel, and is heard of when it comes back', async () => {
    const { source } = open({ bus: host.address });
    const pushed = watch(source);
    await noticeFrom(source);
    await host.tell('leave');
    await pushed.next(0);
    assert.equal((await read(source)).outcome, 'no_channel');
    await host.tell(`schedule reboot ${usec(Date.now() + 60_000)}`);
    const count = pushed.count();
    await host.tell('come');
    await pushed.next(count);
    assert.equal((await noticeFrom(source)).is, 'present');
  });

  it('the property of a restarted logind decides anew', async () => {
    const { source } = open({ bus: host.address });
    const pushed = watch(source);
    await noticeFrom(source);
    await host.tell('only-signal true');
    assert.equal((await noticeFrom(source)).is, 'present');
    const count = pushed.count();
    await host.tell('leave');
    await host.tell('come');
    await pushed.next(count + 1);
    assert.deepEqual(await noticeFrom(source), { is: 'negative' });
  });

  it('a restarted bus is found again without being polled', async () => {
    const { source } = open({ bus: host.address, poll: '1h' });
    const observations: Observation[] = [];
    let wake = (): void => {};
    const driver = startDriver(source, {
      emit: (observation) => {
        observations.push(observation);
        wake();
      },
      log: pino({ level: 'silent' }),
      clock: systemClock,
      count: () => undefined,
    });
    try {
      const until = (is: (last: Observation | undefined) => boolean): Promise<void> =>
        new Promise((resolve, reject) => {
          const timer = setTimeout(() => reject(new Error(JSON.stringify(observations))), PATIENCE_MS);
          wake = () => {
            if (!is(observations.at(-1))) return;
            clearTimeout(timer);
            resolve();
          };
          wake();
        });
      await until((last) => last?.outcome === 'answer');
      await host.stopBus();
      await until((last) => last?.outcome === 'failed');
      await host.startBus();
      await until((last) => last?.outcome === 'answer');
      await host.tell('begin');
      await until((last) => last?.outcome === 'answer' && last.answer.notices?.byId['shutdown']?.is === 'present');
    } finally {
      driver.stop();
    }
  });

  it('a bus that dies right after the signal takes nothing with it', async () => {
    const { source } = open({ bus: host.address });
    const pushed = watch(source);
    await noticeFrom(source);
    await host.tell('only-signal true');
    await pushed.next(0);
    await host.stopBus();
    assert.equal((await noticeFrom(source)).is, 'present');
    await failsWith(source, 'dbus_connect');
  });

  it('a logind that hangs costs one bounded failure, and is well again afterwards', async () => {
    const { source } = open({ bus: host.address });
    await noticeFrom(source);
    host.freeze();
    await failsWith(source, 'dbus_timeout');
    host.thaw();
    assert.deepEqual(await noticeFrom(source), { is: 'negative' });
  });

  it('a logind that dies over the question is no channel, as the bus says', async () => {
    const entries: TraceEntry[] = [];
    const { source } = open({ bus: host.address }, { trace: (entry) => entries.push(entry) });
    await noticeFrom(source);
    host.freeze();
    const reading = read(source);
    await new Promise((resolve) => setImmediate(resolve));
    host.killLogind();
    assert.equal((await reading).outcome, 'no_channel');
    assert.deepEqual(
      entries.slice(-3).map(({ answered }) => answered),
      ['dbus_error', 'dbus_error', 'dbus_error'],
    );
  });

  it('a reading ends with its signal', async () => {
    const { source } = open({ bus: host.address });
    await noticeFrom(source);
    host.freeze();
    const abort = new AbortController();
    const reading = read(source, abort.signal);
    abort.abort();
    await assert.rejects(reading, (error) => error instanceof SourceError && error.code === 'dbus_timeout');
  });

  it('values of the wrong type say nothing', async () => {
    const { source } = open({ bus: host.address });
    await host.tell('odd ScheduledShutdown');
    await host.tell('odd InhibitDelayMaxUSec');
    assert.deepEqual(await noticeFrom(source), { is: 'unknown', error: 'dbus_bad_value' });
    await host.tell('odd PreparingForShutdown');
    await failsWith(source, 'dbus_bad_value');
  });

  it('a logind without schedules and without a word of the maximum serves all the same', async () => {
    const { source } = open({ bus: host.address });
    await host.tell('lose ScheduledShutdown');
    await host.tell('lose InhibitDelayMaxUSec');
    assert.deepEqual(await noticeFrom(source), { is: 'negative' });
    await host.tell('only-property true');
    assert.equal((await noticeFrom(source)).is, 'present');
    await host.tell('lose PreparingForShutdown');
    await failsWith(source, 'dbus_error');
  });

  it('probe is told of each property', async () => {
    const entries: TraceEntry[] = [];
    const { source } = open({ bus: host.address }, { trace: (entry) => entries.push(entry) });
    await host.tell('lose ScheduledShutdown');
    await noticeFrom(source);
    assert.deepEqual(
      entries.map(({ source: name, asked, answered }) => [name, asked, answered]),
      [
        ['logind', 'D-Bus InhibitDelayMaxUSec', 'present'],
        ['logind', 'D-Bus ScheduledShutdown', 'dbus_error'],
        ['logind', 'D-Bus PreparingForShutdown', 'present'],
      ],
    );
  });

  it('the address may come from the environment, escaped, with options and alternatives', async () => {
    const escaped = host.socketPath.replaceAll('-', '%2d');
    const env = { DBUS_SYSTEM_BUS_ADDRESS: `tcp:host=localhost,port=1;unix:guid=ab,path=${escaped},x=y` };
    const { source } = open({}, { env });
    assert.deepEqual(await noticeFrom(source), { is: 'negative' });
  });

  it('nothing is left open by a source that is closed', async () => {
    const { source } = open({ bus: host.address });
    const pushed = watch(source);
    await noticeFrom(source);
    assert.equal(await host.tell('listeners'), '1');
    source.close?.();
    for (const endMs = Date.now() + PATIENCE_MS; (await host.tell('listeners')) !== '0'; )
      assert.ok(Date.now() < endMs, 'still on the bus');
    assert.equal(pushed.count(), 0);
  });

  it('bundled into one file it works, and lets its process end', async () => {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-logind-bundle-'));
    try {
      const bundle = path.join(directory, 'try.cjs');
      await esbuild.build({
        stdin: {
          contents: `import { logindSource } from './logind.ts';
            const [source] = logindSource.create({ bus: process.argv[2] }, { root: '/', env: {}, log: { debug() {}, info() {} } });
            source.watch(() => {}, new AbortController().signal);
            source.read({ signal: new AbortController().signal, fresh: false }).then((result) => console.log(JSON.stringify(result)));`,
          resolveDir: fileURLToPath(new URL('../../agent/sources', import.meta.url)),
        },
        bundle: true,
        platform: 'node',
        target: 'node20',
        format: 'cjs',
        outfile: bundle,
        logLevel: 'silent',
      });
      // Not closed: a connection that only listens must keep no process alive.
      const { stdout } = await promisify(execFile)(process.execPath, [bundle, host.address], { timeout: PATIENCE_MS });
      assert.equal(JSON.parse(stdout).answer.notices.byId.shutdown.is, 'negative');
    } finally {
      fs.rmSync(directory, { recursive: true, force: true });
    }
  });
});

describe('logind where the bus is odd', () => {
  let bus: OddBus | undefined;
  afterEach(async () => {
    await bus?.close();
    bus = undefined;
  });

  const manners: readonly (readonly [manner: BusManner, code: string])[] = [
    ['refuses', 'dbus_auth'],
    ['speaks_http', 'dbus_auth'],
    ['silent', 'dbus_timeout'],
    ['deaf', 'dbus_timeout'],
    ['closes', 'dbus_lost'],
    ['garbage', 'dbus_protocol'],
    ['boundless', 'dbus_protocol'],
    ['misanswers', 'dbus_bad_value'],
  ];
  for (const [manner, code] of manners)
    it(`a bus that is ${manner.replace('_', ' ')}: ${code}, and well again with the next`, async () => {
      bus = await startOddBus(manner);
      const { source } = open({ bus: bus.address });
      await failsWith(source, code);
      bus.manner = 'sound';
      assert.deepEqual(await noticeFrom(source), { is: 'negative' });
    });

  it('what others send is not even parsed', async () => {
    bus = await startOddBus('flooded');
    const { source, lines } = open({ bus: bus.address });
    const pushed = watch(source);
    for (let poll = 0; poll < 3; poll += 1) assert.deepEqual(await noticeFrom(source), { is: 'negative' });
    assert.equal(bus.connections(), 1);
    assert.equal(pushed.count(), 0);
    assert.deepEqual(lines, [], 'the library has stumbled over nothing');
  });

  it('messages of logind that are too large, not asked for, or not to be parsed are passed over', async () => {
    bus = await startOddBus('noisy');
    const { source, events } = open({ bus: bus.address });
    for (let poll = 0; poll < 3; poll += 1) assert.deepEqual(await noticeFrom(source), { is: 'negative' });
    assert.equal(bus.connections(), 1, 'none of them costs the connection');
    const skipped = events('logind_message_skipped');
    for (const why of [
      /^a message of 1000/,
      /^PrepareForShutdown .* signature s$/,
      /does not fit/,
      /^Unsupported type: h/,
    ])
      assert.ok(
        skipped.some((line) => why.test(String(line['why']))),
        String(why),
      );
    assert.equal(skipped.filter(({ level }) => level === 30).length, 1, 'the log is told once');
  });

  it('a lost connection is asked for again by push, ever more rarely, one request at a time', async () => {
    bus = await startOddBus('closes');
    const { source } = open({ bus: bus.address });
    const pushed = watch(source);
    mock.timers.enable({ apis: ['setTimeout'] });
    try {
      for (let failure = 0; failure < 3; failure += 1) await failsWith(source, 'dbus_lost');
      mock.timers.tick(250);
      assert.equal(pushed.count(), 1);
      for (let loss = 1; loss < 8; loss += 1) {
        await failsWith(source, 'dbus_lost');
        mock.timers.tick(10_000);
        assert.equal(pushed.count(), 1 + loss);
      }
      await failsWith(source, 'dbus_lost');
      mock.timers.tick(4_999);
      assert.equal(pushed.count(), 8);
      mock.timers.tick(5_001);
      assert.equal(pushed.count(), 9);
    } finally {
      mock.timers.reset();
    }
  });
});

describe('logind where there is no bus', () => {
  let directory: string;
  before(() => {
    directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-no-bus-'));
  });
  after(() => fs.rmSync(directory, { recursive: true, force: true }));

  it('no socket is no channel, and is looked for less often', async () => {
    const { source } = open({}, { root: directory });
    assert.equal(source.nextPollMs?.(), undefined);
    const result = await read(source);
    assert.ok(result.outcome === 'no_channel');
    assert.match(result.detail, /run\/dbus\/system_bus_socket/);
    assert.equal(source.nextPollMs?.(), 10_000);
  });
  it('a bus that comes up later is found', async () => {
    const { source } = open({}, { root: directory });
    assert.equal((await read(source)).outcome, 'no_channel');
    const bus = await startOddBus('sound');
    fs.mkdirSync(path.join(directory, 'run/dbus'), { recursive: true });
    fs.symlinkSync(bus.address.slice('unix:path='.length), path.join(directory, 'run/dbus/system_bus_socket'));
    try {
      assert.deepEqual(await noticeFrom(source), { is: 'negative' });
      assert.equal(source.nextPollMs?.(), undefined);
    } finally {
      await bus.close();
      fs.rmSync(path.join(directory, 'run/dbus'), { recursive: true });
    }
  });
  it('a socket that nobody listens at has failed', async () => {
    const socketPath = path.join(directory, 'abandoned');
    const server = net.createServer();
    server.listen(path.join(directory, 'listened'));
    await once(server, 'listening');
    // The name that is bound vanishes with the server, another name of the same socket stays.
    fs.linkSync(path.join(directory, 'listened'), socketPath);
    server.close();
    await once(server, 'close');
    await failsWith(open({ bus: `unix:path=${socketPath}` }).source, 'dbus_connect');
  });
  it('an address that is no path of a socket has failed', async () => {
    await failsWith(open({}, { env: { DBUS_SYSTEM_BUS_ADDRESS: 'tcp:host=localhost,port=1' } }).source, 'dbus_address');
  });
  it('an empty variable counts as none', async () => {
    assert.equal(
      (await read(open({}, { env: { DBUS_SYSTEM_BUS_ADDRESS: '' }, root: directory }).source)).outcome,
      'no_channel',
    );
  });
  it('a change in the directory of schedules is pushed', async () => {
    const { source } = open({}, { root: directory });
    const pushed = watch(source);
    const schedules = path.join(directory, 'run/systemd/shutdown');
    fs.mkdirSync(schedules, { recursive: true });
    // It was not there at the start: the next poll begins to look.
    await read(source);
    fs.writeFileSync(path.join(schedules, 'scheduled'), 'USEC=1\n');
    await pushed.next(0);
    pushed.stop();
    source.close?.();
  });
  it('explicit settings are what the schema knows', async () => {
    assert.equal(logindSource.detect, undefined);
    assert.deepEqual(open({ poll: '5s' }).source.poll, 5_000);
    assert.deepEqual(open({}).source.poll, 2_000);
  });
});
