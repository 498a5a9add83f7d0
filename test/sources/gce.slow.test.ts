import assert from 'node:assert/strict';
import { afterEach, describe, it, mock } from 'node:test';
import { systemClock } from '../../agent/clock.ts';
import type { Answer, Observation, Reading, StatedNotice } from '../../agent/lifetime/types.ts';
import { startDriver } from '../../agent/sources/driver.ts';
import { type MachineFacts, NO_FACTS } from '../../agent/sources/facts.ts';
import { type GceConfig, gceSource } from '../../agent/sources/gce.ts';
import { createGceClient, type GceRequest } from '../../agent/sources/gce-client.ts';
import { watchedPart } from '../../agent/sources/gce-watch.ts';
import type { MetadataAnswer } from '../../agent/sources/metadata.ts';
import { type Part, type PartReport, sourceOfParts } from '../../agent/sources/parts.ts';
import { type Source, SourceError } from '../../agent/sources/source.ts';
import { type GceHost, type GceHostOptions, startGceHost, windowIn } from '../hosts/gce.ts';
import { HOUR, history, MINUTE, payload, SECOND, START, source } from '../lifetime/history.ts';
import { sourceEnvironment } from './environment.ts';

const ROOT = '/computeMetadata/v1/instance';
const PREEMPTED = `${ROOT}/preempted`;
const UPCOMING = `${ROOT}/upcoming-maintenance`;
const ON_HOST = `${ROOT}/scheduling/on-host-maintenance`;
const ATTRIBUTES = `${ROOT}/attributes/`;
const MIGRATE = 'MIGRATE_ON_HOST_MAINTENANCE';
const TERMINATE = 'TERMINATE_ON_HOST_MAINTENANCE';

/** Hangs of a second, so that what comes after one need not be awaited for a minute. */
const QUICK: GceConfig = { poll: '1s', timeout: '400ms' };

const NEGATIVE = { is: 'negative' } as const;
const ABSENT = { is: 'absent' } as const;
const unknown = (error: string) => ({ is: 'unknown', error }) as const;
const value = (text: string) => ({ is: 'present', value: text }) as const;

let cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  cleanups = [];
});

async function hostOf(options: GceHostOptions = {}): Promise<GceHost> {
  const host = await startGceHost(options);
  cleanups.push(() => host.close());
  return host;
}

function sourceOn(host: Pick<GceHost, 'url'>, config: GceConfig = {}): Source {
  const [made] = gceSource.create({ base_url: host.url, ...config }, sourceEnvironment());
  assert.ok(made);
  cleanups.push(() => made.close?.());
  return made;
}

async function read(made: Source): Promise<Answer> {
  const result = await made.read({ signal: new AbortController().signal, fresh: true, patient: true });
  if (result.outcome !== 'answer') assert.fail(result.detail);
  return result.answer;
}

const noticeIn = (answer: Answer, id: string): Reading<StatedNotice> | undefined => answer.notices?.byId[id];

/** What is wrong with a part, or undefined. */
function faultOf(answer: Answer, part: string): string | undefined {
  const reading = noticeIn(answer, `@${part}`);
  return reading?.is === 'unknown' ? reading.error : undefined;
}

/** The kind of a notice, or that it is not there; undefined where nothing is known of it. */
function shown(answer: Answer, id: string): string | undefined {
  const reading = noticeIn(answer, id);
  return reading?.is === 'present' ? reading.value.kind : reading?.is === 'unknown' ? undefined : reading?.is;
}

/** Runs the source as the agent does; what it says can be awaited, also what it said before. */
function drive(made: Source) {
  const said: Observation[] = [];
  const waiting = new Set<() => void>();
  const driver = startDriver(made, {
    emit(observation) {
      said.push(observation);
      for (const look of [...waiting]) look();
    },
    log: sourceEnvironment().log,
    clock: systemClock,
    count: () => undefined,
  });
  cleanups.push(() => driver.stop());
  return {
    driver,
    said,
    /** Fulfilled when anything was said at all. */
    begun: (): Promise<void> =>
      new Promise((resolve) => {
        waiting.add(resolve);
        if (said.length > 0) resolve();
      }),
    /** The first answer from `from` on of which this holds. */
    until(holds: (answer: Answer) => boolean, from = 0): Promise<Answer> {
      return new Promise((resolve) => {
        const look = () => {
          const found = said.slice(from).find((each) => each.outcome === 'answer' && holds(each.answer));
          if (found?.outcome !== 'answer') return;
          waiting.delete(look);
          resolve(found.answer);
        };
        waiting.add(look);
        look();
      });
    },
  };
}

function deferred<T>(): { readonly promise: Promise<T>; readonly resolve: (given: T) => void } {
  let resolve: (given: T) => void = () => undefined;
  const promise = new Promise<T>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

const says = (id: string, what: string) => (answer: Answer) => shown(answer, id) === what;
const asked = (host: GceHost, path: string) => host.requests.filter((request) => request.path === path);

describe('gce: detection', () => {
  const rows: readonly (readonly [string, Partial<MachineFacts>, boolean])[] = [
    ['the product name of GCE', { dmi: { product_name: 'Google Compute Engine', sys_vendor: 'Google' } }, true],
    ['the vendor alone', { dmi: { sys_vendor: 'Google' } }, true],
    ['cloud-init says so', { cloudId: 'gce' }, true],
    ["not a laptop of Google's", { dmi: { sys_vendor: 'Google', product_name: 'Eve' } }, false],
    ['not another cloud', { dmi: { sys_vendor: 'Amazon EC2' }, cloudId: 'aws' }, false],
    ['not a machine that says nothing', {}, false],
  ];
  for (const [name, facts, found] of rows)
    it(name, () => assert.equal(gceSource.detect?.({ ...NO_FACTS, ...facts }) !== undefined, found));
});

describe('gce: what the values mean', () => {
  const values: readonly (readonly [name: string, key: string, given: string | undefined, id: string, is: string])[] = [
    ['TRUE is a termination', 'preempted', 'TRUE', 'preempted', 'terminate'],
    ['TRUE with a newline too', 'preempted', 'TRUE\n', 'preempted', 'terminate'],
    ['true as JSON too', 'preempted', '"true"', 'preempted', 'terminate'],
    ['FALSE is an explicit no', 'preempted', 'FALSE', 'preempted', 'negative'],
    ['404 is only absent', 'preempted', undefined, 'preempted', 'absent'],
    ['nothing at all says nothing', 'preempted', '', 'preempted', 'bad_value'],
    ['a web page says nothing', 'preempted', '<html>FALSE</html>', 'preempted', 'bad_value'],
    ['NONE is an explicit no', 'maintenance-event', 'NONE', 'maintenance-event', 'negative'],
    ['404 is only absent', 'maintenance-event', undefined, 'maintenance-event', 'absent'],
    ['an event that we do not know says nothing', 'maintenance-event', 'PARTY', 'maintenance-event', 'bad_value'],
    ['404 is idle', 'shutdown-details/stop-state', undefined, 'stop-state', 'absent'],
    ['UNSPECIFIED is idle', 'shutdown-details/stop-state', 'UNSPECIFIED', 'stop-state', 'negative'],
    ['PENDING_STOP is a stop', 'shutdown-details/stop-state', 'PENDING_STOP', 'stop-state', 'stop'],
    ['and so is what follows it', 'shutdown-details/stop-state', 'STOPPING', 'stop-state', 'stop'],
    ['a state that we do not know says nothing', 'shutdown-details/stop-state', 'DANCING', 'stop-state', 'bad_value'],
  ];
  for (const [name, key, given, id, is] of values)
    it(`${key}: ${name}`, async () => {
      const host = await hostOf();
      host.set(key, given);
      const answer = await read(sourceOn(host));
      assert.equal(shown(answer, id) ?? faultOf(answer, key), is);
      assert.equal(faultOf(answer, key), is === 'bad_value' ? is : undefined);
    });

  it('a preemption has no time but a minimum, and never moves later', async () => {
    const host = await hostOf();
    host.preempt();
    assert.deepEqual(noticeIn(await read(sourceOn(host)), 'preempted'), {
      is: 'present',
      value: {
        kind: 'terminate',
        deadlineMs: null,
        minimumNoticeMs: 30_000,
        onlyEarlier: true,
        reason: 'preempted',
      },
    });
  });

  for (const [event, setting, kind] of [
    [MIGRATE, 'MIGRATE', 'migrate'],
    [MIGRATE, 'TERMINATE', 'terminate'],
    [MIGRATE, undefined, 'migrate'],
    [TERMINATE, 'TERMINATE', 'terminate'],
    [TERMINATE, 'MIGRATE', 'terminate'],
    [TERMINATE, undefined, 'terminate'],
  ] as const)
    it(`${event} on a machine that is set to ${setting ?? 'nothing that we can learn'}: ${kind}`, async () => {
      const host = await hostOf();
      host.maintenance(event);
      host.set('scheduling/on-host-maintenance', setting);
      const reading = noticeIn(await read(sourceOn(host)), 'maintenance-event');
      assert.ok(reading?.is === 'present');
      assert.deepEqual(
        [reading.value.kind, reading.value.deadlineMs, reading.value.minimumNoticeMs],
        [kind, null, 60_000],
      );
    });

  it('the setting is remembered: later events do not wait for it', async () => {
    const host = await hostOf();
    const made = sourceOn(host);
    await read(made);
    host.maintenance(MIGRATE);
    host.upcoming(windowIn(3600));
    const before = asked(host, ON_HOST).length;
    await read(made);
    // One for the setting itself, none for what needs it.
    assert.equal(asked(host, ON_HOST).length, before + 1);
  });

  it('a maintenance event is told although the setting cannot be read', async () => {
    const host = await hostOf();
    host.maintenance(TERMINATE);
    host.fault(ON_HOST, { is: 'status', status: 500 });
    assert.equal(shown(await read(sourceOn(host)), 'maintenance-event'), 'terminate');
  });

  describe('upcoming-maintenance', () => {
    const startMs = 1_766_440_000_000;
    const at = new Date(startMs).toISOString();
    const documents: readonly (readonly [string, object | string | undefined, string | undefined])[] = [
      ['snake case', { window_start_time: at, type: 'SCHEDULED', maintenance_status: 'PENDING' }, 'terminate'],
      ['camel case', { windowStartTime: at, canReschedule: true, somethingNew: { a: [1] } }, 'terminate'],
      ['with a heading around it', { 'Upcoming maintenance': { window_start_time: at, type: 'X' } }, 'terminate'],
      ['{}: nothing is planned', {}, 'negative'],
      ['NONE: nothing is planned', 'NONE', 'negative'],
      ['null: nothing is planned', '{"upcomingMaintenance":{}}', 'negative'],
      ['what is complete is over', { window_start_time: at, maintenance_status: 'COMPLETE' }, 'negative'],
      ['404 says nothing, and is no fault', undefined, undefined],
      ['an error in words says nothing, and is no fault', { error: 'no notifications yet' }, undefined],
      ['without a time it is not known', { maintenance_status: 'PENDING', type: 'UNSCHEDULED' }, 'no_time'],
      ['with a time that is none it is not known', { window_start_time: 'soon' }, 'no_time'],
      ['cut JSON says nothing', '{"window_start_time":"2026-', 'bad_json'],
    ];
    for (const [name, document, is] of documents)
      it(name, async () => {
        const host = await hostOf();
        host.set('scheduling/on-host-maintenance', 'TERMINATE');
        host.upcoming(document);
        const answer = await read(sourceOn(host));
        const isFault = is !== undefined && /^(no_time|bad_json)$/.test(is);
        assert.equal(shown(answer, 'upcoming-maintenance'), isFault ? undefined : is);
        assert.equal(faultOf(answer, 'upcoming-maintenance'), isFault ? is : undefined);
        const reading = noticeIn(answer, 'upcoming-maintenance');
        if (reading?.is === 'present') assert.equal(reading.value.deadlineMs, startMs);
      });

    it('NONE as plain text is idle as well, whatever was asked for', async () => {
      const host = await hostOf();
      host.fault(UPCOMING, { is: 'bytes', bytes: Buffer.from('NONE\n') });
      assert.equal(shown(await read(sourceOn(host)), 'upcoming-maintenance'), 'negative');
    });

    for (const [setting, kind] of [
      ['MIGRATE', 'migrate'],
      ['TERMINATE', 'terminate'],
      [undefined, 'terminate'],
    ] as const)
      it(`on a machine that is set to ${setting ?? 'nothing'} it is a ${kind}`, async () => {
        const host = await hostOf();
        host.set('scheduling/on-host-maintenance', setting);
        host.upcoming(windowIn(3600));
        assert.equal(shown(await read(sourceOn(host)), 'upcoming-maintenance'), kind);
      });

    it('where the setting cannot be read it is not known, and nothing is made up', async () => {
      const host = await hostOf();
      host.upcoming(windowIn(3600));
      host.fault(ON_HOST, { is: 'status', status: 500 });
      const answer = await read(sourceOn(host));
      assert.equal(shown(answer, 'upcoming-maintenance'), undefined);
      assert.equal(faultOf(answer, 'upcoming-maintenance'), 'http_500');
    });

    it('503 with an error in words is idle, but does not clear; any other 503 is a failure', async () => {
      const host = await hostOf();
      const made = sourceOn(host);
      host.fault(UPCOMING, { is: 'status', status: 503, body: '{ "error": "try again later" }' });
      const idle = await read(made);
      assert.equal(shown(idle, 'upcoming-maintenance'), undefined);
      assert.equal(faultOf(idle, 'upcoming-maintenance'), undefined);
      host.fault(UPCOMING, { is: 'status', status: 503, body: 'Service Unavailable' });
      assert.equal(faultOf(await read(made), 'upcoming-maintenance'), 'http_503');
    });
  });

  describe('stop-state', () => {
    const timeOf = (answer: Answer) => {
      const reading = noticeIn(answer, 'stop-state');
      assert.ok(reading?.is === 'present');
      return [reading.value.deadlineMs, reading.value.minimumNoticeMs];
    };

    it('without more it gets what every machine gets', async () => {
      const host = await hostOf();
      host.stopping();
      assert.deepEqual(timeOf(await read(sourceOn(host))), [null, 30_000]);
    });

    it('with the period from the configuration, where the platform does not tell', async () => {
      const host = await hostOf();
      host.stopping();
      assert.deepEqual(timeOf(await read(sourceOn(host, { graceful_shutdown: '10m' }))), [null, 600_000]);
    });

    it('with its time, where the platform tells', async () => {
      const host = await hostOf();
      const requestMs = Math.floor(Date.now() / 1000) * 1000;
      host.stopping({ requestMs, seconds: 300 });
      assert.deepEqual(timeOf(await read(sourceOn(host, { graceful_shutdown: '10m' }))), [
        requestMs + 300_000,
        300_000,
      ]);
    });

    it('details that make no sense are left out', async () => {
      const host = await hostOf();
      host.stopping({ requestMs: Date.UTC(1970, 0), seconds: 300 });
      assert.deepEqual(timeOf(await read(sourceOn(host))), [null, 300_000]);
      host.stopping({ requestMs: Date.now(), seconds: 300 });
      host.set('shutdown-details/max-duration', '-5 weeks');
      assert.deepEqual(timeOf(await read(sourceOn(host))), [null, 30_000]);
    });
  });

  it('S2.1: a preemptible machine may be terminated, with 30 s notice; another one says nothing of it', async () => {
    const host = await hostOf();
    host.set('scheduling/preemptible', 'TRUE');
    assert.deepEqual((await read(sourceOn(host))).derived, {
      machine: { termination_allowed: value('1'), grace_secs: value('30') },
      job: { job_id: value('4242424242424242') },
    });
    host.set('scheduling/preemptible', 'FALSE');
    assert.deepEqual((await read(sourceOn(host))).derived?.machine, {
      termination_allowed: NEGATIVE,
      grace_secs: NEGATIVE,
    });
    host.set('scheduling/preemptible', undefined);
    host.set('id', undefined);
    assert.deepEqual((await read(sourceOn(host))).derived, {
      machine: { termination_allowed: ABSENT, grace_secs: ABSENT },
      job: { job_id: ABSENT },
    });
  });

  it('S4.3: passes on the clock of the host', async () => {
    const host = await hostOf();
    host.setClockOffset(2 * HOUR);
    host.fault(ATTRIBUTES, { is: 'status', status: 500 });
    const { hostNowMs } = await read(sourceOn(host));
    assert.ok(hostNowMs !== undefined && hostNowMs - Date.now() > HOUR);
  });
});

describe('gce: attributes', () => {
  for (const recursive of [true, false])
    it(`known keys, prefixed keys and pointers pass, nothing else (${recursive ? 'as JSON' : 'one by one'})`, async () => {
      const host = await hostOf({ recursive });
      host.attribute('shutdowntime', '1766440000');
      host.attribute('mjf_colour', 'blue');
      host.attribute('wall_limit_secs', '3600');
      host.attribute('machinefeatures', 'http://10.0.0.1/mf/');
      host.attribute('startup-script', '#!/bin/sh\necho secret\n');
      const made = sourceOn(host);
      const answer = await read(made);
      assert.deepEqual(answer.machine?.keys, { shutdowntime: value('1766440000'), mjf_colour: value('blue') });
      assert.deepEqual(answer.job?.keys, { wall_limit_secs: value('3600') });
      assert.deepEqual(answer.pointers, { machinefeatures: 'http://10.0.0.1/mf' });
      assert.ok(!JSON.stringify(answer).includes('secret'));
      assert.deepEqual(asked(host, `${ATTRIBUTES}startup-script`), []);
      host.attribute('shutdowntime', undefined);
      assert.deepEqual((await read(made)).machine?.keys['shutdowntime'], ABSENT);
    });

  it("a tenant's scripts may be larger than any answer that is taken: then the names, and ours one by one", async () => {
    const host = await hostOf();
    host.attribute('startup-script', '#'.repeat(200_000));
    const made = sourceOn(host);
    assert.deepEqual((await read(made)).machine?.keys ?? {}, {});
    host.attribute('mjf_colour', 'blue');
    assert.deepEqual((await read(made)).machine?.keys, { mjf_colour: value('blue') });
    assert.equal(asked(host, ATTRIBUTES).filter(({ query }) => query.get('recursive') === 'true').length, 1);
  });

  it('an emulator that has no attributes is no fault', async () => {
    const host = await hostOf();
    host.fault(ATTRIBUTES, { is: 'status', status: 404 });
    assert.deepEqual(noticeIn(await read(sourceOn(host)), '@attributes/'), NEGATIVE);
  });

  for (const [name, body] of [
    ['a web page', '<html>portal</html>'],
    ['a list', '[1]'],
    ['nothing at all', ''],
  ] as const)
    it(`${name} clears no key`, async () => {
      const host = await hostOf();
      host.attribute('shutdowntime', '1766440000');
      const made = sourceOn(host);
      await read(made);
      host.fault(ATTRIBUTES, { is: 'bytes', bytes: Buffer.from(body) });
      assert.deepEqual((await read(made)).machine?.keys['shutdowntime'], unknown('bad_json'));
      host.fault(ATTRIBUTES, undefined);
      assert.deepEqual((await read(made)).machine?.keys['shutdowntime'], value('1766440000'));
    });

  it('a web page clears no key where the names are asked for first', async () => {
    const host = await hostOf({ recursive: false });
    host.attribute('shutdowntime', '1766440000');
    const made = sourceOn(host);
    await read(made);
    host.fault(ATTRIBUTES, { is: 'html' });
    assert.deepEqual((await read(made)).machine?.keys['shutdowntime'], unknown('bad_value'));
  });
});

describe('gce: the way to the service', () => {
  it('every request carries the header without which the service refuses', async () => {
    const host = await hostOf();
    await read(sourceOn(host));
    assert.ok(host.requests.length >= 8);
    assert.ok(host.requests.every(({ headers }) => headers['metadata-flavor'] === 'Google'));
  });

  it('an emulator without that header is believed', async () => {
    const host = await hostOf({ flavor: false });
    host.preempt();
    assert.equal(shown(await read(sourceOn(host)), 'preempted'), 'terminate');
  });

  for (const tail of ['', '/', '/computeMetadata/v1', '/computeMetadata/v1/'])
    it(`base_url may end in ${JSON.stringify(tail)}`, async () => {
      const host = await hostOf();
      assert.equal(shown(await read(sourceOn({ url: host.url + tail })), 'preempted'), 'negative');
    });

  it('the address is asked where the name cannot be resolved, and from then on', async () => {
    const host = await hostOf();
    // A label this long is refused by every resolver without asking anybody.
    const nameless = `http://${'x'.repeat(64)}.invalid`;
    const traced: string[] = [];
    const client = createGceClient(
      [nameless, host.url],
      { timeoutMs: 5000, maxSockets: 2 },
      {
        trace: ({ asked: what, answered }) =>
          traced.push(`${what.includes('invalid') ? 'name' : 'address'} ${answered}`),
      },
    );
    cleanups.push(() => client.close());
    const { signal } = new AbortController();
    assert.equal((await client.ask('/instance/preempted', { signal })).text, 'FALSE');
    assert.equal((await client.ask('/instance/preempted', { signal })).text, 'FALSE');
    assert.deepEqual(traced, ['name dns', 'address 200', 'address 200']);
  });

  it('a service that refuses is there: nobody else is asked', async () => {
    const [host, other] = [await hostOf(), await hostOf()];
    host.fault('*', { is: 'status', status: 403 });
    const client = createGceClient([host.url, other.url], { timeoutMs: 5000, maxSockets: 2 }, {});
    cleanups.push(() => client.close());
    const { signal } = new AbortController();
    await assert.rejects(client.ask('/instance/preempted', { signal }), { code: 'http_403' });
    assert.equal(other.requests.length, 0);
  });

  it('nobody there: the source fails, and says why', async () => {
    const host = await hostOf();
    await host.close();
    await assert.rejects(read(sourceOn(host)), { code: 'refused' });
  });
});

describe('gce: hanging GETs', () => {
  it('item 9: a preemption is seen by the GET that hangs, without another one', async () => {
    const host = await hostOf();
    const { until, said } = drive(sourceOn(host));
    await host.held('preempted');
    await until(says('preempted', 'negative'));
    const before = asked(host, PREEMPTED).length;
    const from = said.length;
    host.preempt();
    await until(says('preempted', 'terminate'), from);
    // The next GET hangs already, or is about to; none was needed to see it.
    assert.ok(asked(host, PREEMPTED).length <= before + 1);
  });

  it('begins with last_etag=0 and goes on with the ETag of the last answer', async () => {
    const host = await hostOf();
    drive(sourceOn(host));
    await host.held('preempted');
    const waits = asked(host, PREEMPTED).filter(({ query }) => query.get('wait_for_change') === 'true');
    const etag = waits[1]?.query.get('last_etag') ?? '';
    assert.equal(waits[0]?.query.get('last_etag'), '0');
    assert.match(etag, /^[0-9a-f]{16}$/);
    assert.ok(waits.every(({ query }) => Number(query.get('timeout_sec')) > 0));
    host.preempt();
    await host.held('preempted');
    const last = asked(host, PREEMPTED).at(-1);
    assert.match(last?.query.get('last_etag') ?? '', /^[0-9a-f]{16}$/);
    assert.notEqual(last?.query.get('last_etag'), etag);
  });

  it('follows every key: maintenance, stop, attributes; and what is taken back is seen too', async () => {
    const host = await hostOf();
    const { until, said } = drive(sourceOn(host));
    await Promise.all(['maintenance-event', 'attributes/'].map((key) => host.held(key)));
    host.maintenance(TERMINATE);
    await until(says('maintenance-event', 'terminate'));
    host.attribute('shutdowntime', '1766440000');
    await until(({ machine }) => machine?.keys['shutdowntime']?.is === 'present');
    const from = said.length;
    host.maintenance('NONE');
    await until(says('maintenance-event', 'negative'), from);
  });

  it('a stop is seen, although its key was not there to wait for', async () => {
    const host = await hostOf();
    const { until } = drive(sourceOn(host));
    await until(says('stop-state', 'absent'));
    host.stopping();
    await until(says('stop-state', 'stop'));
  });

  it('hangs again and again: an answer after timeout_sec is proof of life and no news', async () => {
    const host = await hostOf();
    const { until, said } = drive(sourceOn(host, QUICK));
    await host.held('preempted');
    await host.seen(3, PREEMPTED);
    host.preempt();
    await until(says('preempted', 'terminate'));
    assert.ok(said.every(({ outcome }) => outcome === 'answer'));
  });

  for (const options of [
    { waits: 'ignored' },
    { etags: 'none' },
    { etags: 'random' },
    { waits: 'ignored', etags: 'none' },
  ] as const)
    it(`sees a preemption on an emulator with ${JSON.stringify(options)}`, async () => {
      const host = await hostOf(options);
      const { until } = drive(sourceOn(host, QUICK));
      await until(says('preempted', 'negative'));
      await host.seen(2, PREEMPTED);
      host.preempt();
      await until(says('preempted', 'terminate'));
    });

  it('where hanging GETs are never answered, plain ones are asked in their place', async () => {
    const host = await hostOf({ waits: 'forever' });
    const { until } = drive(sourceOn(host, QUICK));
    await until(says('preempted', 'negative'));
    host.preempt();
    await until(says('preempted', 'terminate'));
  });

  it('one that is dead is given up a little after its time, and other keys go on meanwhile', async () => {
    const host = await hostOf();
    const { until, said } = drive(sourceOn(host, QUICK));
    await until(says('preempted', 'negative'));
    host.fault(PREEMPTED, { is: 'hang' });
    // The one that was healthy ends; the next one meets the black hole, and so does the plain GET after it.
    await host.seen(1, PREEMPTED);
    host.preempt();
    host.maintenance(TERMINATE);
    await until(says('maintenance-event', 'terminate'));
    await until((answer) => faultOf(answer, 'preempted') === 'timeout');
    const from = said.length;
    host.fault(PREEMPTED, undefined);
    await until(says('preempted', 'terminate'), from);
  });

  it('a burst of 503 hides nothing that came in its midst', async () => {
    const host = await hostOf();
    const { until, said } = drive(sourceOn(host));
    await host.held('preempted');
    host.fault(PREEMPTED, { is: 'status', status: 503 }, 4);
    const burst = host.seen(4, PREEMPTED);
    host.dropConnections();
    host.set('preempted', 'TRUE');
    await burst;
    await until(says('preempted', 'terminate'));
    assert.ok(said.every(({ outcome }) => outcome === 'answer'));
  });

  it('a reset is no news, and what came meanwhile is seen', async () => {
    const host = await hostOf();
    const { until, said } = drive(sourceOn(host));
    await Promise.all(['preempted', 'maintenance-event'].map((key) => host.held(key)));
    await until(says('preempted', 'negative'));
    const from = said.length;
    host.dropConnections();
    host.preempt();
    await until(says('preempted', 'terminate'), from);
    assert.ok(
      said.slice(from).every((each) => each.outcome === 'answer' && faultOf(each.answer, 'preempted') !== 'reset'),
    );
  });

  it('a host that comes only after the agent is found soon, for all of its keys', async () => {
    const first = await hostOf();
    await first.close();
    const { begun, until, said } = drive(sourceOn(first));
    await begun();
    const late = await startGceHost({ port: first.port });
    cleanups.push(() => late.close());
    late.set('scheduling/preemptible', 'TRUE');
    await Promise.all([
      until(says('preempted', 'negative')),
      until(({ derived }) => derived?.machine?.['termination_allowed']?.is === 'present'),
      until(({ derived }) => derived?.job?.['job_id']?.is === 'present'),
    ]);
    assert.equal(said[0]?.outcome, 'failed');
  });

  it('stops at once, leaves no connection and asks nothing more', async () => {
    const host = await hostOf();
    const { driver } = drive(sourceOn(host));
    await Promise.all(['preempted', 'maintenance-event', 'attributes/'].map((key) => host.held(key)));
    const open = host.requests.map(({ closed }) => closed);
    driver.stop();
    await Promise.all(open);
    const before = host.requests.length;
    host.preempt();
    await host.close();
    assert.equal(host.requests.length, before);
  });
});

/** An answer as the client gives it. */
const text = (body: string, etag?: string): MetadataAnswer => ({
  is: 'text',
  text: body,
  status: 200,
  headers: etag === undefined ? {} : { etag },
  body: Buffer.from(body),
});
const absent: MetadataAnswer = { ...text(''), is: 'absent', status: 404 };
const reportOf = (body: string): PartReport => ({ machine: { total_cpu: value(body) } });

describe('gce: one watched key', () => {
  const KEY = { name: 'k', hangMs: 60_000, timeoutMs: 5_000, judge: (answer: MetadataAnswer) => reportOf(answer.text) };

  async function pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 50) {
      mock.timers.tick(50);
      for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
      await new Promise((done) => setImmediate(done));
    }
  }

  for (const [name, answer] of [
    ['answers at once, always the same', () => text('8', 'e')],
    ['answers at once, with another ETag each time', (count: number) => text('8', `e${count}`)],
    ['answers at once, without ETag', () => text('8')],
    ['answers at once, with another value each time', (count: number) => text(String(count), `e${count}`)],
    ['has no such key', () => absent],
    ['answers at once, with nonsense', () => Promise.reject(new SourceError('bad_value', 'nonsense'))],
  ] as const)
    it(`a server that ${name} makes no busy loop, and is not left alone`, async () => {
      mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_000_000 });
      const abort = new AbortController();
      try {
        let asks = 0;
        const part = watchedPart({
          ...KEY,
          nowMs: () => Date.now(),
          random: () => 0.5,
          ask: async () => {
            asks += 1;
            return await answer(asks);
          },
        });
        let reports = 0;
        const following = part.follow?.(() => (reports += 1), abort.signal);
        await pass(60_000);
        assert.ok(asks <= 64 + 1, `${asks} requests in a minute`);
        assert.ok(asks >= 12, `${asks} requests in a minute: a notice of 30 s would be missed`);
        assert.ok(reports >= 5);
        abort.abort();
        await following;
      } finally {
        abort.abort();
        mock.timers.reset();
      }
    });

  it('a hanging GET is given up a little after its own time; then a plain one, and a short hang before a long one', async () => {
    const requests: GceRequest[] = [];
    const abort = new AbortController();
    const part = watchedPart({
      ...KEY,
      hangMs: 20_000,
      ask: async (request) => {
        requests.push(request);
        if (requests.length === 5) abort.abort();
        // As the client ends one that is dead.
        if (requests.length === 3) throw new SourceError('timeout', 'no answer');
        return text('8', `e${requests.length}`);
      },
    });
    const holding = setInterval(() => undefined, MINUTE);
    await part.follow?.(() => undefined, abort.signal).finally(() => clearInterval(holding));
    assert.deepEqual(
      requests.map(({ query, timeoutMs }) => [query?.['timeout_sec'], query?.['last_etag'], timeoutMs]),
      [
        ['5', '0', 10_000],
        ['5', 'e1', 10_000],
        ['20', 'e2', 25_000],
        [undefined, undefined, undefined],
        ['5', 'e4', 10_000],
      ],
    );
  });

  it('an emulator that refuses hanging GETs is polled, and a person is told once', async () => {
    mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_000_000 });
    const abort = new AbortController();
    try {
      const refused: string[] = [];
      const reports: (PartReport | Error)[] = [];
      let asks = 0;
      const part = watchedPart({
        ...KEY,
        nowMs: () => Date.now(),
        onlyPlain: (code) => refused.push(code),
        ask: async ({ query }) => {
          asks += 1;
          if (query !== undefined) throw new SourceError('http_400', 'no such parameter');
          return text(String(Date.now()));
        },
      });
      const following = part.follow?.((report) => reports.push(report), abort.signal);
      await pass(60_000);
      assert.deepEqual(refused, ['http_400']);
      assert.ok(reports.length >= 12 && asks <= 65, `${reports.length} reports by ${asks} requests`);
      assert.ok(reports.every((report) => !(report instanceof Error)));
      abort.abort();
      await following;
    } finally {
      abort.abort();
      mock.timers.reset();
    }
  });
});

describe('what hanging GETs need of a source of parts', () => {
  /** A source whose one part is followed by hand, beside one that never answers a plain reading. */
  function made() {
    const handed = deferred<(report: PartReport | Error) => void>();
    const plain = deferred<PartReport>();
    const begun = deferred<void>();
    const parts: readonly Part[] = [
      {
        name: 'followed',
        everyMs: 60_000,
        read: () => plain.promise,
        follow: async (handOver) => handed.resolve(handOver),
      },
      {
        name: 'dead',
        everyMs: 60_000,
        read: ({ signal }) => {
          begun.resolve();
          return new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('dead'))));
        },
      },
    ];
    const combined = sourceOfParts({ name: 'x', rank: 'platform', poll: 60_000, timeoutMs: 300_000, parts });
    const abort = new AbortController();
    cleanups.push(() => abort.abort());
    // Its own timers hold no process.
    const holding = setInterval(() => undefined, MINUTE);
    cleanups.push(() => clearInterval(holding));
    let changes = 0;
    combined.watch?.(() => (changes += 1), abort.signal);
    const look = () => combined.read({ signal: abort.signal, fresh: false });
    return { look, handed: handed.promise, plain, begun: begun.promise, changes: () => changes };
  }
  const said = (body: string): PartReport => ({ notices: { n: body === 'yes' ? yes : NEGATIVE } });
  const yes: Reading<StatedNotice> = { is: 'present', value: { kind: 'terminate', deadlineMs: null, reason: 'n' } };
  const answerOf = async (reading: Promise<Awaited<ReturnType<Source['read']>>>): Promise<Answer> => {
    const result = await reading;
    if (result.outcome !== 'answer') assert.fail(result.detail);
    return result.answer;
  };

  it('what is handed over during a reading does not wait for an endpoint that is dead', async () => {
    const { look, handed, begun } = made();
    const reading = answerOf(look());
    await begun;
    (await handed)(said('yes'));
    assert.equal(shown(await reading, 'n'), 'terminate');
  });

  it('a plain answer that was asked for before a change, but comes after it, does not take it back', async () => {
    const { look, handed, plain, begun } = made();
    const reading = answerOf(look());
    await begun;
    (await handed)(said('yes'));
    plain.resolve(said('no'));
    assert.equal(shown(await reading, 'n'), 'terminate');
    assert.equal(shown(await answerOf(look()), 'n'), 'negative');
  });

  it('what came last counts, whichever way it came', async () => {
    const { look, handed, plain, begun } = made();
    const reading = answerOf(look());
    await begun;
    plain.resolve(said('no'));
    await plain.promise;
    await new Promise((done) => setImmediate(done));
    (await handed)(said('yes'));
    assert.equal(shown(await reading, 'n'), 'terminate');
  });

  it('a failure that comes after news does not take them away', async () => {
    const { look, handed, changes } = made();
    const handOver = await handed;
    handOver(said('yes'));
    handOver(new SourceError('reset', 'gone'));
    assert.ok(changes() >= 1);
    assert.equal(shown(await answerOf(look()), 'n'), 'terminate');
  });
});

describe('gce: from the host to the phase', () => {
  const observed = (answer: Answer) =>
    ({ type: 'observation', observation: { source: 'gce', outcome: 'answer', answer } }) as const;
  /** A machine with one payload, and a host whose clock is that of the history. */
  function begin(host: GceHost) {
    host.setClockOffset(START - Date.now());
    const h = history({ sources: [source('gce', 'platform', MINUTE)] });
    h.register(payload('pilot'));
    return h;
  }

  it('S1.3: a preemption stops the payloads within 30 s of being seen, and FALSE takes it back', async () => {
    const host = await hostOf();
    const made = sourceOn(host);
    const h = begin(host);
    h.send(observed(await read(made)));
    assert.equal(h.phase(), 'running');
    host.preempt();
    h.send(observed(await read(made)));
    assert.equal(h.phase(), 'stopping');
    assert.equal(h.snapshot().deadlineMs, START + 30_000);
    h.pass(10 * SECOND);
    h.send(observed(await read(made)));
    assert.equal(h.snapshot().deadlineMs, START + 30_000);
    host.set('preempted', 'FALSE');
    h.send(observed(await read(made)));
    assert.equal(h.phase(), 'running');
    assert.equal(h.snapshot().deadlineMs, null);
  });

  it('S1.6: neither failures nor one 404 clear a preemption', async () => {
    const host = await hostOf();
    const made = sourceOn(host);
    const h = begin(host);
    host.preempt();
    h.send(observed(await read(made)));
    for (const fault of [{ is: 'status', status: 503 }, { is: 'html' }, { is: 'empty' }, { is: 'reset' }] as const) {
      host.fault(PREEMPTED, fault);
      h.send(observed(await read(made)));
      assert.equal(h.phase(), 'stopping', fault.is);
    }
    host.fault(PREEMPTED, { is: 'status', status: 404 });
    h.send(observed(await read(made)));
    assert.equal(h.phase(), 'stopping');
  });

  it('item 1: maintenance in weeks moves the shutdown time at once and stops nothing; a migration does neither', async () => {
    const host = await hostOf();
    host.set('scheduling/on-host-maintenance', 'TERMINATE');
    host.upcoming({ window_start_time: new Date(START + 500 * HOUR).toISOString() });
    const h = begin(host);
    h.send(observed(await read(sourceOn(host))));
    assert.equal(h.phase(), 'running');
    assert.equal(h.machine('shutdowntime'), String((START + 500 * HOUR) / 1000));
    host.set('scheduling/on-host-maintenance', 'MIGRATE');
    host.maintenance(MIGRATE);
    h.send(observed(await read(sourceOn(host))));
    assert.equal(h.phase(), 'running');
    assert.equal(h.machine('shutdowntime'), undefined);
    assert.deepEqual(h.noticeIds()?.sort(), ['gce/maintenance-event', 'gce/upcoming-maintenance']);
  });

  it('S2: spot, attributes and the id of the instance become keys', async () => {
    const host = await hostOf();
    host.set('scheduling/preemptible', 'TRUE');
    host.attribute('mjf_colour', 'blue');
    host.attribute('hs06', '171.04');
    const h = begin(host);
    h.send(observed(await read(sourceOn(host))));
    assert.equal(h.snapshot().terminationAllowed, true);
    assert.equal(h.machine('grace_secs'), '30');
    assert.equal(h.machine('colour'), 'blue');
    assert.equal(h.machine('hs06'), '171.04');
    assert.equal(h.job('job_id'), '4242424242424242');
  });

  it('S1.5: a maintenance that is only read as the end of the machine later on becomes one', async () => {
    const host = await hostOf();
    const h = begin(host);
    const { until, said } = drive(sourceOn(host));
    await host.held('maintenance-event');
    host.maintenance(MIGRATE);
    h.send(observed(await until(says('maintenance-event', 'migrate'))));
    assert.equal(h.phase(), 'running');
    const from = said.length;
    host.maintenance(TERMINATE);
    h.send(observed(await until(says('maintenance-event', 'terminate'), from)));
    assert.equal(h.phase(), 'stopping');
    assert.equal(h.snapshot().reason, 'gce: host maintenance: terminate');
  });
});

it('gce: by hand, every command of the help is understood and changes what the host says', async () => {
  const { standIn } = await import('../hosts/gce.ts');
  const { greeting, host, obey } = await standIn.start(['--spot', '--on-host-maintenance', 'TERMINATE']);
  cleanups.push(() => host.close());
  const url = /base_url = "(.*)"/.exec(greeting)?.[1];
  assert.ok(url);
  for (const line of [
    'preempt',
    `maintenance ${MIGRATE}`,
    'upcoming 3600',
    'stop 60',
    'attribute shutdowntime +60',
    'set id 7',
  ]) {
    const [verb = '', ...words] = line.split(' ');
    assert.ok(obey(verb, words, line), line);
  }
  const answer = await read(sourceOn({ url }));
  assert.deepEqual(
    ['preempted', 'maintenance-event', 'upcoming-maintenance', 'stop-state'].map((id) => shown(answer, id)),
    ['terminate', 'terminate', 'terminate', 'stop'],
  );
  assert.equal(answer.machine?.keys['shutdowntime']?.is, 'present');
  assert.deepEqual(answer.derived?.job?.['job_id'], value('7'));
  assert.ok(!obey('upcoming', ['soon'], 'upcoming soon'));
  assert.ok(!obey('dance', ['now'], 'dance now'));
});
