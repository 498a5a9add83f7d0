import assert from 'node:assert/strict';
import fs from 'node:fs';
import { type TestContext, test } from 'node:test';
import type { HandResult } from '../../agent/hand/hand.ts';
import { openPower, type PowerOptions } from '../../agent/payloads/power.ts';
import { isRoot, OWN_UID, place, readableLog, script, until } from '../hand/fixture.ts';

const OK: HandResult = { ok: true, output: '' };
const BAD: HandResult = { ok: false, code: 'failed', detail: 'no bus' };

function stage(t: TestContext, changes: Partial<PowerOptions> & { readonly answers?: readonly HandResult[] } = {}) {
  const dir = place(t);
  const log = readableLog();
  const counted: string[] = [];
  const answers = [...(changes.answers ?? [])];
  const asked: number[] = [];
  const clock = { mono: 0 };
  const power = openPower({
    hand: {
      async powerOff() {
        asked.push(clock.mono);
        return answers.shift() ?? OK;
      },
    },
    log: log.log,
    count: (metric, { outcome }) => counted.push(`${metric} ${outcome}`),
    clock: { now: () => ({ wall: 0, mono: clock.mono }) },
    shutdownCommand: () => null,
    uid: OWN_UID,
    holdFor: () => false,
    retryMs: { first: 1, last: 4 },
    ...changes,
  });
  t.after(() => power.stop());
  const events = () => log.lines.map((line) => line['event']);
  return { dir, log, counted, asked, clock, power, events };
}

test('switched off once, with a warning before, however often it is said', async (t) => {
  const { power, asked, counted, events, log } = stage(t);
  for (const level of [null, 'done', 'done', 'deadline', 'done'] as const) power.update(level);
  await until('the end', () => counted.length === 1);
  power.update('deadline');
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(asked.length, 1);
  assert.deepEqual(counted, ['mjf_poweroff_total asked']);
  assert.deepEqual(events(), ['poweroff_due', 'poweroff']);
  assert.ok(log.lines.every((line) => line['level'] === 40));
});

test('failures are tried again as long as it holds', async (t) => {
  const { power, counted, events } = stage(t, { answers: [BAD, BAD, OK] });
  power.update('deadline');
  await until('success', () => counted.includes('mjf_poweroff_total asked'));
  assert.deepEqual(
    counted,
    ['failed', 'failed', 'asked'].map((outcome) => `mjf_poweroff_total ${outcome}`),
  );
  assert.equal(events().filter((event) => event === 'poweroff_failed').length, 2);
});

test('taken back before the next attempt: none is made, and a new word begins anew', async (t) => {
  const { power, asked, log, counted } = stage(t, { answers: [BAD], retryMs: { first: 100_000, last: 100_000 } });
  power.update('done');
  await log.until('poweroff_failed');
  power.update(null);
  await log.until('poweroff_taken_back');
  assert.equal(asked.length, 1);
  power.update('done');
  await until('the second', () => counted.length === 2);
  assert.deepEqual(counted, ['mjf_poweroff_total failed', 'mjf_poweroff_total asked']);
});

test('the last word to the site is waited for, and not longer than half a minute', async (t) => {
  let owed = true;
  const first = stage(t, { holdFor: () => owed });
  first.power.update('done');
  assert.equal(first.asked.length, 0);
  owed = false;
  await until('the end', () => first.counted.length === 1);

  const looked: number[] = [];
  const second = stage(t, {
    holdFor() {
      looked.push(second.clock.mono);
      second.clock.mono += 29_999;
      return true;
    },
  });
  second.power.update('done');
  await until('the end', () => second.counted.length === 1);
  assert.deepEqual(looked, [0, 29_999, 59_998].slice(0, looked.length));
  assert.ok((second.asked[0] ?? 0) >= 30_000, 'not before');
});

test('stopped: nothing more is done', async (t) => {
  const { power, asked } = stage(t, { holdFor: () => true });
  power.update('done');
  power.stop();
  power.update(null);
  power.update('done');
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(asked.length, 0);
});

test('the host’s command is run in place of systemd: its words, no shell, no environment', async (t) => {
  let command = '';
  const { dir, power, asked, counted } = stage(t, { shutdownCommand: () => command });
  script(`${dir}/bin/off`, `printf '%s|' "$@" > ${dir}/out; tr "\\0" " " < /proc/$$/environ >> ${dir}/out`);
  command = `${dir}/bin/off -h  $HOME;touch`;
  power.update('done');
  await until('the end', () => counted.length === 1);
  const path = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
  assert.equal(fs.readFileSync(`${dir}/out`, 'utf8'), `-h|$HOME;touch|${path} LC_ALL=C `);
  assert.deepEqual([asked.length, counted], [0, ['mjf_poweroff_total asked']]);
});

test('a command that fails, is not there or is no full path: systemd after all', async (t) => {
  let command = '';
  const { dir, power, asked, counted, events } = stage(t, { shutdownCommand: () => command });
  script(`${dir}/bin/fails`, 'exit 7');
  const texts = [`${dir}/bin/fails`, `${dir}/none`, `${dir}/bin`, 'poweroff', '', '/bin/tr\0ue'];
  for (const [index, text] of texts.entries()) {
    command = text;
    power.update('done');
    await until('the end', () => counted.length === index + 1);
    assert.equal(asked.length, index + 1, text);
    power.update(null);
  }
  assert.equal(events().filter((event) => event === 'shutdown_command_failed').length, 1);
  assert.equal(events().filter((event) => event === 'shutdown_command_refused').length, 5);
});

test('a command that others could have written is not run: systemd, and the reason in the log', async (t) => {
  const { dir, power, asked, counted, log } = stage(t, { shutdownCommand: () => `${dir}/bin/off -h` });
  const file = script(`${dir}/bin/off`, `touch ${dir}/ran`);
  const refusals = () => log.lines.filter((line) => line['event'] === 'shutdown_command_refused');
  let times = 0;
  const again = async (why: RegExp): Promise<void> => {
    times += 1;
    power.update('done');
    await until('the end', () => counted.length === times);
    power.update(null);
    assert.equal(asked.length, times);
    assert.match(String(refusals()[times - 1]?.['why']), why);
  };
  fs.chmodSync(file, 0o757);
  await again(/bin\/off is writable by everybody/);
  fs.chmodSync(file, 0o775);
  await again(/bin\/off is writable by its group/);
  fs.chmodSync(file, 0o755);
  fs.chmodSync(`${dir}/bin`, 0o777);
  await again(/bin is writable by everybody/);
  fs.chmodSync(`${dir}/bin`, 0o755);
  fs.chmodSync(dir, 0o777);
  await again(/is writable by everybody/);
  fs.chmodSync(dir, 0o755);
  if (isRoot) {
    fs.chownSync(file, 4711, 4711);
    await again(/belongs to user 4711/);
    fs.chownSync(file, 0, 0);
  }
  assert.equal(fs.existsSync(`${dir}/ran`), false);
  power.update('done');
  await until('its own doing', () => fs.existsSync(`${dir}/ran`));
  assert.equal(asked.length, times);
});
