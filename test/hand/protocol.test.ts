import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAnswer, parseRequest } from '../../agent/hand/protocol.ts';
import { HOOK_VARIABLES } from '../../agent/payloads/hook-environment.ts';

const hook = { verb: 'hook', directory: 'stopping', file: 'a', env: { MJF_EVENT: 'x' }, stdin: '', timeoutMs: 1000 };
const parse = (value: unknown) => parseRequest(JSON.stringify(value));

test('each verb is taken by its own parts only', () => {
  assert.deepEqual(parse(hook), hook);
  assert.deepEqual(parse({ ...hook, user: 'root', path: '/bin/sh' }), hook);
  assert.deepEqual(parse({ verb: 'power_off', force: true }), { verb: 'power_off' });
  const units = { verb: 'units', action: 'stop', units: ['condor.service', 'a@b-c.scope', 'x\\x2dy.slice'] };
  assert.deepEqual(parse(units), units);
});

const WRONG_NAMES = ['PATH', 'LD_PRELOAD', 'BASH_ENV', 'MJF_', 'mjf_x', 'MJF_A\n', 'NODE_OPTIONS', 'HOME'].concat(
  // Settings of the agent itself, for hooks that call it.
  ['MJF_AGENT_RUNTIME_DIR', 'MJF_AGENT_HAND_SOCKET', 'MJF_OTHER', 'MJF_EVENT\n', 'constructor'],
);

test('the variables of hooks are taken, each of them, and where the outputs go', () => {
  const names = [...HOOK_VARIABLES.map(({ name }) => name), 'JOBOUTPUTS'];
  assert.ok(names.length > 15);
  const whole = { ...hook, env: Object.fromEntries(names.map((name) => [name, 'x'])) };
  assert.deepEqual(parse(whole), whole);
  const german = { ...hook, env: { LANG: 'de_CH.UTF-8' } };
  assert.deepEqual(parse(german), german);
});

test('what is not exactly a request is refused in words', () => {
  const wrong: readonly unknown[] = [
    null,
    [],
    'hook',
    {},
    { verb: 'shell' },
    { verb: 'units', action: 'restart', units: ['a.service'] },
    { verb: 'units', action: 'stop', units: [] },
    { verb: 'units', action: 'stop', units: 'a.service' },
    { verb: 'units', action: 'stop', units: Array.from({ length: 257 }, () => 'a.service') },
    ...['-H.service', '--force', 'a', '../a.service', 'a b.service', 'a.service\n', 7, 'a*.service', ''].map(
      (unit) => ({
        verb: 'units',
        action: 'stop',
        units: ['good.service', unit],
      }),
    ),
    { ...hook, file: 7 },
    { ...hook, stdin: undefined },
    { ...hook, timeoutMs: 0 },
    { ...hook, timeoutMs: '5' },
    { ...hook, env: [] },
    { ...hook, env: { MJF_EVENT: 1 } },
    { ...hook, env: { MJF_EVENT: 'a\0b' } },
    { ...hook, env: { MJF_EVENT: 'a'.repeat(5000) } },
    ...WRONG_NAMES.map((name) => ({ ...hook, env: { [name]: 'x' } })),
    // The C library would take a path for the place of a file.
    ...['/tmp/x', '../../tmp/x', '', 'C\n'].map((LANG) => ({ ...hook, env: { LANG } })),
  ];
  for (const value of wrong) assert.equal(typeof parse(value), 'string', JSON.stringify(value));
  assert.equal(typeof parseRequest('{'), 'string');
});

test('answers are read back as they were, and nonsense is none', () => {
  const answers = [
    { started: { pid: 7, startTicks: 8, pipes: [] } },
    { stream: 'stderr', line: 'x' },
    { outcome: { is: 'ended', code: 3, signal: null, ms: 5 } },
    { outcome: { is: 'timeout', ms: 5 } },
    { outcome: { is: 'not_run', code: 'refused', detail: 'x' } },
    { result: { ok: true, output: '' } },
    { result: { ok: false, code: 'refused', detail: 'x' } },
  ];
  for (const answer of answers) assert.deepEqual(parseAnswer(JSON.stringify(answer)), answer);
  for (const line of ['', '[]', '{}', '{"started":{}}', '{"outcome":{"is":"fine"}}', '{"stream":"x","line":"y"}'])
    assert.equal(parseAnswer(line), null, line);
});
