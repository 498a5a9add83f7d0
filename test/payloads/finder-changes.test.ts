import assert from 'node:assert/strict';
import test from 'node:test';
import type { ConfiguredPayload } from '../../agent/config/types.ts';
import { payloadChanges, removed } from '../../agent/payloads/finder-changes.ts';

const payload = (changes: Partial<ConfiguredPayload> = {}): ConfiguredPayload => ({
  name: 'a',
  find: { by: 'match', user: 'u', command: /x/u },
  group: false,
  graceMs: null,
  steps: null,
  restartOnCancel: true,
  ...changes,
});
const steps = [{ at: 'grace', signal: 'SIGTERM' }] as const;

for (const [name, before, after, gone, change] of [
  ['nothing', payload(), payload({ find: { by: 'match', user: 'u', command: /x/u } }), [], undefined],
  ['another name', payload(), payload({ name: 'b' }), ['a'], undefined],
  ['another expression', payload(), payload({ find: { by: 'match', user: 'u', command: /y/u } }), ['a'], undefined],
  ['another user', payload(), payload({ find: { by: 'match', user: 'v', command: /x/u } }), ['a'], undefined],
  ['another way', payload(), payload({ find: { by: 'unit', unit: 'a.service' } }), ['a'], undefined],
  ['the group', payload(), payload({ group: true }), ['a'], undefined],
  ['no restart', payload(), payload({ restartOnCancel: false }), ['a'], undefined],
  ['a lead', payload(), payload({ graceMs: 5 }), [], { change: { graceMs: 5 }, takenBack: [] }],
  [
    'another lead',
    payload({ graceMs: 4, steps }),
    payload({ graceMs: 5, steps: [...steps] }),
    [],
    { change: { graceMs: 5 }, takenBack: [] },
  ],
  ['steps', payload(), payload({ steps }), [], { change: { steps }, takenBack: [] }],
  ['no lead any more', payload({ graceMs: 4 }), payload(), [], { change: {}, takenBack: ['graceMs'] }],
  ['no steps any more', payload({ steps }), payload(), [], { change: {}, takenBack: ['steps'] }],
  [
    'a lead instead of steps',
    payload({ steps }),
    payload({ graceMs: 5 }),
    [],
    { change: { graceMs: 5 }, takenBack: ['steps'] },
  ],
] as const) {
  test(`a re-read configuration with ${name}`, () => {
    const { removed: names, changed } = payloadChanges([before], [after]);
    assert.deepEqual([names, changed.get('a')], [gone, change]);
    assert.deepEqual(removed([before], [after]), gone);
  });
}
