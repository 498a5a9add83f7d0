/** The reporters together: none stops another, and Azure hears that it may begin only after the last word. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { RawConfig } from '../../agent/config/schema.ts';
import { toConfig } from '../../agent/config/typed.ts';
import type { Reporter, SiteNews } from '../../agent/report/reporter.ts';
import { ACK_HOLD_MS, joinReporters, openReports } from '../../agent/report/reports.ts';
import { eventsOf, newsOf, quiet, surroundings, turnTime } from './fake-back.ts';

const RELEASED = ['azure/E1'];
const WORD = { code: 100, text: 'Shutdown as requested by the host' };
const NO_OUTPUTS = { put: async () => 'no_channel' as const, pointTo: () => {} };

interface FakeReporter extends Reporter {
  readonly told: SiteNews[];
  owes: boolean;
}

function fakeReporter(name: string, change: Partial<Reporter> = {}): FakeReporter {
  const fake: FakeReporter = {
    name,
    told: [],
    owes: false,
    update: (news) => void fake.told.push(news),
    owesLastWord: () => fake.owes,
    pending: () => (fake.owes ? 2 : 0),
    close: async () => {},
    ...change,
  };
  return fake;
}

function join(t: TestContext, ...reporters: readonly Reporter[]) {
  const time = turnTime(t);
  const { environment, lines } = surroundings();
  const now = () => ({ wall: 0, mono: performance.now() });
  const reports = joinReporters(reporters, NO_OUTPUTS, { log: environment.log, now });
  t.after(() => reports.close());
  return { reports, lines, ...time };
}

test('each is told; one that throws is a line in the log and stops nobody', async (t) => {
  const broken = fakeReporter('broken', {
    update: () => {
      throw new Error('a fault');
    },
    close: () => Promise.reject(new Error('another')),
  });
  const well = fakeReporter('well');
  const { reports, lines } = join(t, broken, well);
  reports.update(newsOf({ answer: { now: true } }));
  assert.equal(well.told.length, 1);
  const [line] = lines();
  assert.deepEqual([line?.event, line?.['reporter']], ['internal', 'broken']);
  await reports.close();
  reports.update(newsOf({}));
  assert.equal(well.told.length, 1, 'nothing after the end');
});

test('what waits, by reporter; the last word is owed while anyone owes it', (t) => {
  const one = fakeReporter('one');
  const other = fakeReporter('other');
  const { reports } = join(t, one, other);
  assert.equal(reports.owesLastWord(), false);
  other.owes = true;
  assert.equal(reports.owesLastWord(), true);
  assert.deepEqual(reports.pending(), [
    { reporter: 'one', count: 0 },
    { reporter: 'other', count: 2 },
  ]);
});

test('S5.4 a platform may begin at once where no word is owed', (t) => {
  const azure = fakeReporter('azure');
  const { reports } = join(t, fakeReporter('one'), azure);
  reports.update(newsOf({ released: RELEASED }));
  assert.deepEqual(azure.told.at(-1)?.released, RELEASED);
});

/** Owes the word from the moment when it first hears of it. */
function speaker(): FakeReporter {
  let hasHeard = false;
  const fake: FakeReporter = fakeReporter('speaker', {
    update({ lastWord }) {
      if (lastWord === null || hasHeard) return;
      hasHeard = true;
      fake.owes = true;
    },
  });
  return fake;
}

test('and waits where the word becomes due in the same moment, until it has gone out', async (t) => {
  const one = speaker();
  const azure = fakeReporter('azure');
  const { reports, pass } = join(t, one, azure);
  reports.update(newsOf({ lastWord: WORD, released: RELEASED }));
  await pass(1_000);
  assert.ok(azure.told.length > 1);
  assert.ok(azure.told.every(({ released }) => released.length === 0));
  one.owes = false;
  await pass(250);
  assert.deepEqual(azure.told.at(-1)?.released, RELEASED);
  const times = azure.told.length;
  await pass(60_000);
  assert.equal(azure.told.length, times, 'nobody looks any more');
});

test('ten seconds at most, over everything that happens meanwhile', async (t) => {
  const one = speaker();
  const azure = fakeReporter('azure');
  const { reports, pass } = join(t, one, azure);
  const news = newsOf({ lastWord: WORD, released: RELEASED });
  reports.update(news);
  await pass(ACK_HOLD_MS - 100);
  reports.update(newsOf({ lastWord: WORD, released: [...RELEASED, 'azure/E2'] }));
  assert.deepEqual(azure.told.at(-1)?.released, []);
  await pass(300);
  assert.deepEqual(azure.told.at(-1)?.released, [...RELEASED, 'azure/E2']);
});

test('a release that is taken back while it is held is not passed on', async (t) => {
  const one = speaker();
  const azure = fakeReporter('azure');
  const { reports, pass } = join(t, one, azure);
  reports.update(newsOf({ lastWord: WORD, released: RELEASED }));
  reports.update(newsOf({ lastWord: WORD }));
  for (let second = 0; second < 15; second += 1) await pass(1_000);
  assert.ok(azure.told.every(({ released }) => released.length === 0));
});

test('the real ones: all of them by default, each can be turned off; the word first, then Azure', async (t) => {
  const stateDir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-reports-'));
  t.after(() => fs.rmSync(stateDir, { recursive: true }));
  const { pass } = turnTime(t);
  const { environment, fake, lines } = surroundings();
  const open = (report: NonNullable<RawConfig['report']>) => {
    const reports = openReports({
      ...environment,
      config: toConfig({ report }, []),
      env: {},
      self: { command: '/nonexistent/child', args: [] },
      ownAddresses: [],
      stateDir,
      identity: { machineId: 'machine-1', bootId: 'boot-1' },
      now: () => ({ wall: 0, mono: performance.now() }),
    });
    t.after(() => reports.close());
    return reports;
  };
  const names = (reports: ReturnType<typeof open>) => reports.pending().map(({ reporter }) => reporter);
  assert.deepEqual(names(open({})), ['joboutputs', 'directory', 'onegate', 'gce', 'vmware', 'azure']);
  const off = { enabled: false };
  assert.deepEqual(names(open({ directory: off, onegate: off, gce: off, vmware: off, azure: off })), ['joboutputs']);

  const reports = open({ directory: off });
  reports.pointTo(undefined);
  assert.equal(await reports.jobOutput('log', Buffer.from('x'), 0), 'no_channel');
  reports.update(
    newsOf({
      sources: { vmware: 'ok', azure: 'ok' },
      notices: [{ id: 'azure/E1', awaits: 'own' }],
      phase: 'stopped',
      lastWord: WORD,
      released: RELEASED,
    }),
  );
  await quiet();
  assert.deepEqual(
    fake.heard.map(({ source }) => source),
    ['vmware'],
  );
  await pass(250);
  assert.deepEqual(fake.heard[1], { source: 'azure', event: 'E1' });
  assert.deepEqual(eventsOf(lines()), ['acknowledged']);
});
