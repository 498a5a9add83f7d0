import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { cgroupOfUnit, startOrder, unitNameProblem, unitsAbove } from '../../agent/payloads/unit-names.ts';

describe('names of units', () => {
  const GOOD = [
    'condor.service',
    'condor@slot1.service',
    'a.b-c_d:e.service',
    'a\\x2db.service',
    'session-3.scope',
    'batch.slice',
    'batch-jobs.slice',
    'user-1000.slice',
    'user@1000.service',
    'systemd-nspawn@worker.service',
    'dbusy.service',
    '0.service',
  ];
  for (const name of GOOD) test(`${name} may be a payload`, () => assert.equal(unitNameProblem(name), null));

  const BAD = [
    ['', /not the name/],
    ['condor', /not the name/],
    ['condor.socket', /not the name/],
    ['multi-user.target', /not the name/],
    ['-.mount', /not the name/],
    ['.service', /not the name/],
    ['-foo.service', /not the name/],
    ['--help.service', /not the name/],
    ['*.service', /not the name/],
    ['con?or.service', /not the name/],
    ['[a].service', /not the name/],
    ['../x.service', /not the name/],
    ['/etc/systemd/system/x.service', /not the name/],
    ['a b.service', /not the name/],
    ['a\n.service', /not the name/],
    ['a.service\n', /not the name/],
    ['ä.service', /not the name/],
    [`${'a'.repeat(248)}.service`, /not the name/],
    ['getty@.service', /template/],
    ['@x.service', /not the name/],
    ['a--b.slice', /legal name/],
    ['a-.slice', /legal name/],
    ['a@b.slice', /legal name/],
    ['-.slice', /stop the machine/],
    ['system.slice', /stop the machine/],
    ['init.scope', /stop the machine/],
    ['dbus.service', /part of the system/],
    ['dbus-broker.service', /part of the system/],
    ['systemd-logind.service', /part of the system/],
    ['systemd-journald@x.service', /part of the system/],
    ['mjf-agent.service', /belongs to the agent/],
    ['mjf-agent-guard.service', /belongs to the agent/],
    ['mjf-agent-hand@1-2.service', /belongs to the agent/],
  ] as const;
  for (const [name, why] of BAD)
    test(`${JSON.stringify(name).slice(0, 40)} may not`, () => assert.match(unitNameProblem(name) ?? '', why));

  test('nor what the agent itself runs in, in a pure and in a hybrid hierarchy', () => {
    const pure = unitsAbove('0::/user.slice/user-0.slice/session-7.scope\n');
    assert.deepEqual([...pure], ['user.slice', 'user-0.slice', 'session-7.scope']);
    const hybrid = unitsAbove('4:memory:/else.slice\n1:name=systemd:/site.slice/agent.service\n0::/\n');
    assert.deepEqual([...hybrid], ['site.slice', 'agent.service']);
    assert.match(unitNameProblem('user-0.slice', pure) ?? '', /agent itself/);
    assert.match(unitNameProblem('agent.service', hybrid) ?? '', /agent itself/);
    assert.equal(unitNameProblem('user-1000.slice', pure), null);
  });

  test('an escaped directory is the unit’s own', () => {
    assert.deepEqual([...unitsAbove('0::/system.slice/_memory.service')], ['system.slice', 'memory.service']);
  });
});

test('the control group of a unit that does not run yet', () => {
  assert.equal(cgroupOfUnit('a.service', 'system.slice', '/'), '/system.slice/a.service');
  assert.equal(cgroupOfUnit('a.service', 'x-y-z.slice', '/'), '/x.slice/x-y.slice/x-y-z.slice/a.service');
  assert.equal(cgroupOfUnit('x-y.slice', 'x.slice', '/'), '/x.slice/x-y.slice');
  assert.equal(cgroupOfUnit('a.service', '-.slice', '/'), '/a.service');
  assert.equal(cgroupOfUnit('a.service', '', '/machine/c1'), '/machine/c1/a.service');
  assert.equal(cgroupOfUnit('memory.service', 'pids.slice', '/'), '/_pids.slice/_memory.service');
  assert.equal(cgroupOfUnit('_x.service', 'system.slice', '/'), '/system.slice/__x.service');
  assert.equal(cgroupOfUnit('memoryless.service', 'system.slice', '/'), '/system.slice/memoryless.service');
});

test('sockets and timers are started before what they start', () => {
  assert.deepEqual(startOrder(['b.service', 'a.timer', 'a.service', 'b.socket']), [
    'a.timer',
    'b.socket',
    'b.service',
    'a.service',
  ]);
});
