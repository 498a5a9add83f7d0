/** The built program as a service beside real payload units: issue 4's promises for units, seen from outside. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { startService } from './agent.ts';
import { type Bed, NODE, prepareBed, startBed, until } from './bed.ts';

const root = prepareBed();
const reason = 'reason' in root ? root.reason : false;
const bedFor = (t: Parameters<typeof startBed>[0]): Promise<Bed> => {
  if ('reason' in root) throw new Error(root.reason);
  return startBed(t, root);
};

/** Whom nobody else is. */
const PLAIN_UID = 4_711;
const SLEEPER = '[Service]\nExecStart=/bin/sleep infinity\n';
/** Stops when /run/let appears. */
const untilLet = `TimeoutStopSec=10min
ExecStop=/bin/sh -c 'echo begun 0 >> /run/slow; until [ -e /run/let ]; do sleep 0.1; done'
`;
const inSlice = (slice: string): string => `${SLEEPER}Slice=${slice}\n`;
/** SIGTERM at the lead, SIGKILL two seconds before the deadline. */
const STEPS = 'steps = [ { at = "grace", signal = "SIGTERM" }, { at = "2s", signal = "SIGKILL" } ]';
const stop = (grace: string): string => `[stop]\ngrace = "${grace}"\ndrain = "${grace}"\n${STEPS}\n`;
const payload = (unit: string, more = ''): string =>
  `[[payload]]\nname = "${unit.split('.')[0]}"\nunit = "${unit}"\n${more}\n`;

const state = (bed: Bed, unit: string): Promise<string> => bed.property(unit, 'ActiveState');
async function untilState(bed: Bed, unit: string, wanted: string): Promise<void> {
  await until(
    `${unit} is ${wanted}`,
    async () => (await state(bed, unit)) === wanted,
    () => state(bed, unit),
  );
}
/** What its script has noted: a word and the time, UNIX ms. */
const notes = (bed: Bed, file: string): readonly { readonly word: string; readonly atMs: number }[] =>
  bed
    .read(file)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => ({ word: line.split(' ')[0] ?? '', atMs: Number(line.split(' ')[1]) }));

describe('units stopped by the agent', { skip: reason }, () => {
  it('a service with a slow ExecStop is stopped through systemd, in its window and to the end', async (t) => {
    const bed = await bedFor(t);
    await bed.units({
      'slow.service': `${SLEEPER}ExecStop=/bin/sh -c 'echo begun $(date +%%s%%3N) >> /run/slow; sleep 2; echo ended $(date +%%s%%3N) >> /run/slow'\n`,
    });
    await bed.systemctl('start', 'slow.service');
    const agent = await startService(bed, `${stop('8s')}${payload('slow.service', 'grace = "8s"')}`);
    await agent.untilPayloads({ running: 1 });
    const { deadlineMs, stopAtMs } = await agent.announce(10);
    await untilState(bed, 'slow.service', 'inactive');
    const [begun, ended, ...more] = notes(bed, '/run/slow');
    assert.deepEqual([begun?.word, ended?.word, more], ['begun', 'ended', []]);
    assert.ok((begun?.atMs ?? 0) >= stopAtMs, 'not earlier than planned');
    assert.ok((ended?.atMs ?? Infinity) < deadlineMs, 'in time');
    const seen = await agent.untilPayloads({ running: 0, stopping: 0 });
    assert.equal(seen.phase, 'stopped');
  });

  it('one that ignores SIGTERM and has ten minutes by systemd is killed by the last step', async (t) => {
    const bed = await bedFor(t);
    bed.write('/run/deaf.sh', 'trap "echo term $(date +%s%3N) >> /run/deaf" TERM\nwhile :; do sleep 0.1; done\n');
    await bed.units({ 'deaf.service': '[Service]\nExecStart=/bin/sh /run/deaf.sh\nTimeoutStopSec=10min\n' });
    await bed.systemctl('start', 'deaf.service');
    const agent = await startService(bed, `${stop('5s')}${payload('deaf.service', 'grace = "5s"')}`);
    await agent.untilPayloads({ running: 1 });
    const { deadlineMs } = await agent.announce(8);
    await untilState(bed, 'deaf.service', 'failed');
    assert.ok(Date.now() < deadlineMs, 'before the deadline');
    assert.equal(await bed.property('deaf.service', 'Result'), 'signal');
    assert.equal(notes(bed, '/run/deaf').length, 1, 'one SIGTERM, before it');
    await agent.untilPayloads({ running: 0, stopping: 0 });
  });

  it('a unit that systemd will not stop gets its SIGTERM directly', async (t) => {
    const bed = await bedFor(t);
    bed.write('/run/firm.sh', 'trap "echo term 0 >> /run/firm; exit 0" TERM\nwhile :; do sleep 0.1; done\n');
    await bed.units({ 'firm.service': '[Unit]\nRefuseManualStop=yes\n[Service]\nExecStart=/bin/sh /run/firm.sh\n' });
    await bed.systemctl('start', 'firm.service');
    const agent = await startService(bed, `${stop('6s')}${payload('firm.service', 'grace = "6s"')}`);
    await agent.untilPayloads({ running: 1 });
    await agent.announce(7);
    await untilState(bed, 'firm.service', 'inactive');
    await agent.untilLogged('units_not_stopped');
    assert.deepEqual(notes(bed, '/run/firm'), [{ word: 'term', atMs: 0 }]);
  });

  it('a slice: all that runs below it is stopped, and on cancel exactly that is started again', async (t) => {
    const bed = await bedFor(t);
    await bed.units({
      'one.service': inSlice('work.slice'),
      'two.service': inSlice('work-deep.slice'),
      'always.service': `${inSlice('work.slice')}Restart=always\nRestartSec=100ms\n`,
      'off.service': inSlice('work.slice'),
      'beside.service': SLEEPER,
      'called.socket': '[Socket]\nListenStream=/run/called\nSlice=work.slice\n',
      'called.service': inSlice('work.slice'),
    });
    const running = ['called.socket', 'called.service', 'one.service', 'two.service', 'always.service'];
    await bed.systemctl('start', ...running, 'off.service', 'beside.service');
    await bed.systemctl('stop', 'off.service');
    const agent = await startService(bed, `${stop('20s')}${payload('work.slice', 'grace = "20s"')}`);
    await agent.untilPayloads({ running: 1 });
    await agent.announce(21);
    for (const unit of running) await untilState(bed, unit, 'inactive');
    await agent.untilPayloads({ running: 0, stopping: 0, stopped: 1 });
    assert.equal(await state(bed, 'beside.service'), 'active');

    await agent.cancel();
    for (const unit of running) await untilState(bed, unit, 'active');
    assert.equal(await state(bed, 'off.service'), 'inactive', 'its operator had stopped it');
    await agent.untilPayloads({ running: 1, stopping: 0 });
    assert.equal((await agent.lifetime()).phase, 'running');
  });

  it('two units, one of them stopped by its operator before: on cancel only the other is started', async (t) => {
    const bed = await bedFor(t);
    await bed.units({ 'mine.service': SLEEPER, 'his.service': SLEEPER, 'never.service': SLEEPER });
    await bed.systemctl('start', 'mine.service', 'his.service', 'never.service');
    const agent = await startService(
      bed,
      `${stop('20s')}${payload('mine.service')}${payload('his.service')}${payload('never.service', 'restart_on_cancel = false')}`,
    );
    // No lead but that of `[stop]`: TimeoutStopSec is longer (90 s), and all of it counts.
    await agent.untilPayloads({ running: 3 });
    await bed.systemctl('stop', 'his.service');
    await agent.untilPayloads({ running: 2 });
    await agent.announce(60);
    for (const unit of ['mine.service', 'never.service']) await untilState(bed, unit, 'inactive');
    await agent.untilPayloads({ running: 0, stopping: 0 });
    await agent.cancel();
    await untilState(bed, 'mine.service', 'active');
    await agent.untilLogged('units_started');
    assert.equal(await state(bed, 'his.service'), 'inactive');
    assert.equal(await state(bed, 'never.service'), 'inactive');
  });

  it('taken back while a unit is still stopping: it ends, and then it is started again', async (t) => {
    const bed = await bedFor(t);
    await bed.units({ 'slow.service': `${SLEEPER}${untilLet}` });
    await bed.systemctl('start', 'slow.service');
    const agent = await startService(bed, `${stop('60s')}${payload('slow.service', 'grace = "60s"')}`);
    await agent.untilPayloads({ running: 1 });
    await agent.announce(61);
    await untilState(bed, 'slow.service', 'deactivating');
    await agent.untilLogged('units_stopped');
    await agent.cancel();
    await agent.untilLogged('units_starting');
    assert.equal(await state(bed, 'slow.service'), 'deactivating');
    bed.write('/run/let', '');
    await untilState(bed, 'slow.service', 'active');
    await agent.untilPayloads({ running: 1, stopping: 0 });
  });

  it('an agent killed in the middle of a stop does nothing twice, and still knows what to start again', async (t) => {
    const bed = await bedFor(t);
    await bed.units({
      'slow.service': `${SLEEPER}${untilLet}`,
      'quick.service': SLEEPER,
    });
    await bed.systemctl('start', 'slow.service', 'quick.service');
    const units = `${payload('slow.service', 'grace = "60s"')}${payload('quick.service', 'grace = "60s"')}`;
    const agent = await startService(bed, `${stop('60s')}${units}`);
    await agent.untilPayloads({ running: 2 });
    await agent.announce(61);
    await untilState(bed, 'slow.service', 'deactivating');
    await agent.untilLogged('units_stopped');
    await agent.kill9();
    await untilState(bed, 'quick.service', 'inactive');
    await agent.start();
    bed.write('/run/let', '');
    await untilState(bed, 'slow.service', 'inactive');
    await agent.untilPayloads({ running: 0, stopping: 0, stopped: 2 });
    assert.equal(notes(bed, '/run/slow').length, 1, 'stopped once');

    await agent.cancel();
    for (const unit of ['slow.service', 'quick.service']) await untilState(bed, unit, 'active');
    await agent.untilPayloads({ running: 2, stopping: 0 });
  });

  it('root registers a unit over HTTP, others do not, and nobody one of the system', async (t) => {
    const bed = await bedFor(t);
    await bed.units({ 'work.service': SLEEPER, 'down.service': SLEEPER });
    await bed.systemctl('start', 'work.service');
    const agent = await startService(bed, stop('6s'));
    const register = async (unit: string, uid: number): Promise<{ readonly status: number; readonly body: string }> => {
      const body = JSON.stringify({ name: 'work', target: { unit }, grace_secs: 6 });
      const script = `fetch('http://127.0.0.1:8653/v1/payloads', { method: 'POST', headers: { 'content-type': 'application/json' }, body: process.argv[1] })
        .then(async (answer) => console.log(JSON.stringify({ status: answer.status, body: await answer.text() })))`;
      const { out, err } = await bed.exec([NODE, '-e', script, body], { uid });
      assert.notEqual(out, '', err);
      return JSON.parse(out) as { status: number; body: string };
    };
    const foreign = await register('work.service', PLAIN_UID);
    assert.equal(foreign.status, 403, foreign.body);
    for (const unit of [
      'down.service',
      'nowhere.service',
      'system.slice',
      'dbus.service',
      'mjf-agent.service',
      '-.slice',
    ]) {
      const refused = await register(unit, 0);
      assert.equal(refused.status, 422, `${unit}: ${refused.body}`);
    }
    assert.equal((await agent.lifetime()).payloads.running, 0);
    const own = await register('work.service', 0);
    assert.equal(own.status, 201, own.body);
    await agent.announce(7);
    await untilState(bed, 'work.service', 'inactive');
    await agent.untilLogged('units_stopped');
  });

  it('the machine is switched off when its payload has ended', async (t) => {
    const bed = await bedFor(t);
    await bed.units({ 'work.service': SLEEPER });
    await bed.systemctl('start', 'work.service');
    const config = `[stop]\nwhen_done = "poweroff"\nidle = "1s"\n`;
    const agent = await startService(bed, `${config}${payload('work.service')}`);
    await agent.untilPayloads({ running: 1 });
    await bed.systemctl('stop', 'work.service');
    assert.equal(await bed.hasEnded(25_000), true);
  });
});
