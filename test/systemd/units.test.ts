/** units.ts and unit-steps.ts with a real systemd: what it says of units, and what it does with our orders. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import pino from 'pino';
import type { HandResult } from '../../agent/hand/hand.ts';
import type { Input, PayloadSpec } from '../../agent/lifetime/types.ts';
import type { SignalEffect } from '../../agent/payloads/delivery.ts';
import { systemctl } from '../../agent/payloads/systemctl.ts';
import { openUnitSteps } from '../../agent/payloads/unit-steps.ts';
import { openUnits, type Units } from '../../agent/payloads/units.ts';
import { type Bed, prepareBed, startBed, until } from './bed.ts';

const prepared = prepareBed();
const reason = 'reason' in prepared ? prepared.reason : false;

const sleeper = (more = '', slice = ''): string =>
  `[Unit]\n${more.startsWith('[Unit]') ? more.slice(6) : ''}\n[Service]\nExecStart=/bin/sleep infinity\n${slice === '' ? '' : `Slice=${slice}\n`}${more.startsWith('[Unit]') ? '' : more}`;
/** Ends when /run/let-NAME appears, told to stop; else never. */
const slow = (name: string): string =>
  `[Service]\nExecStart=/bin/sleep infinity\nExecStop=/bin/sh -c 'until [ -e /run/let-${name} ]; do sleep 0.1; done'\nTimeoutStopSec=10min\n`;

describe('units of a real systemd', { skip: reason }, () => {
  let bed: Bed;
  let units: Units;
  let dir: string;
  let env: Readonly<Record<string, string>>;
  const lines: { readonly event: string; readonly msg: string }[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => lines.push(JSON.parse(line)) });
  const cleanups: (() => void | Promise<void>)[] = [];

  before(async () => {
    if ('reason' in prepared) return;
    bed = await startBed({ after: (fn) => void cleanups.push(fn) }, prepared);
    dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-units-'));
    cleanups.push(() => fs.rmSync(dir, { recursive: true, force: true }));
    const command = [...bed.within, '/bin/systemctl'].join(' ');
    fs.writeFileSync(path.join(dir, 'systemctl'), `#!/bin/sh\nexec ${command} "$@"\n`, { mode: 0o755 });
    env = { PATH: `${dir}:${process.env['PATH']}` };
    const hand = {
      async units(verb: 'stop' | 'start', names: readonly string[]): Promise<HandResult> {
        const result = await systemctl([verb, '--no-block', '--', ...names], { env, timeoutMs: 20_000 });
        return result.ok ? { ok: true, output: result.stdout } : result;
      },
    };
    units = openUnits({ hand, env, log, root: bed.path('/') });
    await bed.units({
      'one.service': sleeper('TimeoutStopSec=45s\n', 'work.slice'),
      'two.service': sleeper('[Unit]Requires=one.service\nAfter=one.service\n', 'work-deep.slice'),
      'off.service': sleeper('', 'work.slice'),
      'called.socket': '[Socket]\nListenStream=/run/called\nSlice=work.slice\n',
      'called.service': sleeper('', 'work.slice'),
      'own.service': sleeper('Restart=always\nRestartSec=100ms\n'),
      'alias.service': `${sleeper()}[Install]\nAlias=other.service\n`,
      'memory.service': sleeper(),
      'firm.service': sleeper('[Unit]RefuseManualStop=yes\n'),
      'pulled.service': sleeper('[Unit]BindsTo=firm.service\nAfter=firm.service\n'),
      'under.service': sleeper('[Unit]RequiredBy=\n'),
      'slow.service': slow('slow'),
      'gone.service': sleeper(),
      'dbus-user.service': sleeper(),
      'mjf-agent.service': sleeper('[Unit]Requires=under.service\nAfter=under.service\n'),
    });
    await bed.systemctl('enable', '-q', 'alias.service');
    await bed.systemctl(
      'start',
      'called.socket',
      'one',
      'two',
      'called',
      'own',
      'memory',
      'alias',
      'firm',
      'pulled',
      'mjf-agent',
      'slow',
    );
  });
  after(async () => {
    for (const cleanup of cleanups.reverse()) await cleanup();
  });

  const active = async (unit: string): Promise<string> => await bed.property(unit, 'ActiveState');
  const pidsIn = (cgroup: string): readonly string[] =>
    fs
      .readFileSync(bed.path(`/sys/fs/cgroup${cgroup}/cgroup.procs`), 'utf8')
      .split('\n')
      .filter((line) => line !== '');

  it('is there', () => assert.equal(units.available(), true));

  it('describes a service as systemd has it, and where its processes are', async () => {
    const found = await units.describe(['one.service', 'two.service', 'own.service', 'work.slice']);
    const cgroup = '/work.slice/one.service';
    assert.deepEqual(found.get('one.service'), { unit: 'one.service', active: true, cgroup, stopTimeoutMs: 45_000 });
    assert.equal(found.get('two.service')?.cgroup, '/work.slice/work-deep.slice/two.service');
    assert.deepEqual(found.get('own.service'), {
      unit: 'own.service',
      active: true,
      cgroup: '/system.slice/own.service',
      stopTimeoutMs: 90_000,
    });
    assert.deepEqual(found.get('work.slice'), {
      unit: 'work.slice',
      active: true,
      cgroup: '/work.slice',
      stopTimeoutMs: null,
    });
    assert.equal(pidsIn(cgroup).length, 1);
  });

  it('says where a unit will be once it runs, and that is where it is', async () => {
    const names = ['one.service', 'two.service', 'memory.service', 'off.service'];
    const running = await units.describe(names);
    await bed.systemctl('stop', ...names);
    const stopped = await units.describe(names);
    await bed.systemctl('start', 'one', 'two', 'memory');
    for (const name of names.slice(0, 3)) {
      assert.equal(stopped.get(name)?.active, false, name);
      assert.equal(stopped.get(name)?.cgroup, running.get(name)?.cgroup, name);
    }
    assert.equal(stopped.get('memory.service')?.cgroup, '/system.slice/_memory.service');
    assert.equal(stopped.get('off.service')?.cgroup, '/work.slice/off.service');
  });

  it('resolves an alias', async () => {
    assert.equal((await units.describe(['other.service'])).get('other.service')?.unit, 'alias.service');
  });

  it('knows nothing of units that are not there, and says nothing of those that may not be payloads', async () => {
    const names = [
      'never.service',
      'system.slice',
      '-.slice',
      'init.scope',
      'systemd-journald.service',
      'dbus.service',
    ];
    // By its alias, one that belongs to the system.
    const found = await units.describe([
      ...names,
      'mjf-agent.service',
      'one.socket',
      '../one.service',
      'dbus-user.service',
      'one.service',
    ]);
    for (const [name, info] of found) if (name !== 'one.service') assert.equal(info, null, name);
    assert.equal(found.get('one.service')?.unit, 'one.service');
  });

  it('refuses what takes the agent down with it', async () => {
    assert.equal((await units.describe(['under.service'])).get('under.service'), null);
    const found = (await units.foresee(['under.service'], 5_000))?.get('under.service');
    assert.match(found?.is === 'refused' ? found.reason : '', /takes mjf-agent\.service down/);
  });

  it('knows what goes down with a slice: what runs, with its sockets first, and what depends on it', async () => {
    assert.deepEqual([...(await units.membersOf('work.slice'))].sort(), [
      'called.service',
      'called.socket',
      'one.service',
      'two.service',
    ]);
    assert.equal((await units.membersOf('work.slice'))[0], 'called.socket');
    assert.deepEqual([...(await units.membersOf('one.service'))].sort(), ['one.service', 'two.service']);
    assert.deepEqual(await units.membersOf('off.service'), []);
    assert.deepEqual(await units.membersOf('never.service'), []);
  });

  it('does not start again what somebody is stopping, and what is on its way up it does', async () => {
    await bed.systemctl('stop', '--no-block', 'slow.service');
    await until('deactivating', async () => (await active('slow.service')) === 'deactivating');
    assert.deepEqual(await units.membersOf('slow.service'), []);
    await bed.systemctl('start', '--no-block', 'slow.service');
    assert.deepEqual(await units.membersOf('slow.service'), ['slow.service']);
    bed.write('/run/let-slow', '');
    await until('up again', async () => (await active('slow.service')) === 'active');
    fs.rmSync(bed.path('/run/let-slow'));
  });

  it('counts a transient service as lost: systemd forgets it', async () => {
    await bed.exec(['systemd-run', '--unit=passing', '--slice=work.slice', 'sleep', 'infinity']);
    const found = (await units.foresee(['work.slice'], 5_000))?.get('work.slice');
    assert.ok(found?.is === 'running');
    assert.deepEqual(found.lost, ['passing.service']);
    assert.ok(!found.startAgain.includes('passing.service'));
    await bed.systemctl('stop', 'passing.service');
  });

  function steps() {
    const inputs: Input[] = [];
    const direct: string[] = [];
    const opened = openUnitSteps({
      units,
      submit: (input) => inputs.push(...(input.type === 'together' ? input.inputs : [input])),
      deliver: (effects) =>
        effects.map(({ payload, step }) => {
          direct.push(payload.id);
          return { id: payload.id, step, outcome: 'delivered', at: { wall: 0, mono: 0 } };
        }),
      log,
      count: () => undefined,
      now: () => ({ wall: Date.now(), mono: performance.now() }),
    });
    cleanups.push(() => opened.close());
    return { ...opened, inputs, direct };
  }
  const told = (inputs: readonly Input[], id: string): readonly string[] =>
    inputs.flatMap((input) => (input.type === 'units_stopping' && input.id === id ? input.units : []));
  const outcomes = (inputs: readonly Input[]): Readonly<Record<string, string>> =>
    Object.fromEntries(
      inputs.flatMap((input) =>
        input.type === 'steps_done' ? input.results.map((each) => [each.id, each.outcome]) : [],
      ),
    );

  it('a stop through systemd, and the way back: exactly what ran before', async () => {
    const { stop, start, inputs, direct } = steps();
    await bed.systemctl('stop', 'off.service');
    await stop([effect('slice', 'work.slice'), effect('always', 'own.service')]);
    assert.deepEqual(outcomes(inputs), { slice: 'delivered', always: 'delivered' });
    assert.deepEqual(direct, []);
    const again = told(inputs, 'slice');
    assert.deepEqual([...again].sort(), ['called.service', 'called.socket', 'one.service', 'two.service']);
    for (const unit of [...again, 'own.service']) await until(unit, async () => (await active(unit)) === 'inactive');

    await start({ type: 'start_units', payload: 'slice', units: again });
    await start({ type: 'start_units', payload: 'always', units: told(inputs, 'always') });
    for (const unit of [...again, 'own.service']) assert.equal(await active(unit), 'active', unit);
    assert.equal(await active('off.service'), 'inactive');
    assert.deepEqual(
      inputs.flatMap((input) => (input.type === 'units_started' ? [input.id] : [])),
      ['slice', 'always'],
    );
  });

  it('one that refuses to be stopped does not keep the others from it, and gets its signal directly', async () => {
    const { stop, inputs, direct } = steps();
    await stop([effect('firm', 'firm.service'), effect('one', 'one.service')]);
    assert.deepEqual(direct, ['firm']);
    assert.deepEqual(outcomes(inputs), { firm: 'delivered', one: 'delivered' });
    await until('one is down', async () => (await active('one.service')) === 'inactive');
    assert.equal(await active('firm.service'), 'active');
    await bed.systemctl('start', 'one.service', 'two.service');
  });

  it('a start while it is still being stopped waits for that: tried too early, systemd would give it up', async () => {
    const { stop, start, inputs } = steps();
    await stop([effect('slow', 'slow.service')]);
    await until('deactivating', async () => (await active('slow.service')) === 'deactivating');
    const starting = start({ type: 'start_units', payload: 'slow', units: told(inputs, 'slow') });
    bed.write('/run/let-slow', '');
    await starting;
    assert.equal(await active('slow.service'), 'active');
    assert.ok(inputs.some((input) => input.type === 'units_started'));
  });

  it('a unit that is masked or removed meanwhile cannot be started: said at once, not after a minute', async () => {
    const { start, inputs } = steps();
    await bed.exec(['systemctl', 'mask', '--runtime', '-q', 'gone.service']);
    fs.rmSync(bed.path('/etc/systemd/system/gone.service'));
    await bed.exec(['systemctl', 'mask', '-q', 'gone.service']);
    const begun = lines.length;
    await start({ type: 'start_units', payload: 'p', units: ['gone.service', 'never.service', 'one.service'] });
    assert.deepEqual(inputs, [{ type: 'units_started', id: 'p' }]);
    const said = lines.slice(begun).find(({ event }) => event === 'units_not_startable');
    assert.deepEqual((said as { units?: readonly string[] } | undefined)?.units, ['gone.service', 'never.service']);
  });
});

function effect(id: string, unit: string): SignalEffect {
  const payload: PayloadSpec = {
    id,
    name: id,
    uid: 0,
    target: { kind: 'unit', unit, cgroup: `/${unit}` },
    registeredMs: 0,
  };
  return { type: 'signal', payload, step: { episode: 1, index: 0, signal: 'SIGTERM' }, to: 'all' };
}
