/** What a payload finds in its environment, above all whose row it may speak for. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { payloadEnvironment } from '../../agent/exec/environment.ts';

const NOWHERE = { machinefeatures: undefined, jobfeatures: undefined, joboutputs: undefined };
const OUTER = {
  PATH: '/bin',
  MJF_PAYLOAD_URL: 'http://127.0.0.1:8653/v1/payloads/outer',
  MJF_AGENT_EXEC_00: '1',
};

test('its own row, and the markers of both', () => {
  const url = 'http://127.0.0.1:8653/v1/payloads/inner';
  assert.deepEqual(payloadEnvironment(OUTER, { ...NOWHERE, jobfeatures: '/j' }, 'MJF_AGENT_EXEC_01=1', url), {
    PATH: '/bin',
    JOBFEATURES: '/j',
    MJF_PAYLOAD_URL: url,
    MJF_AGENT_EXEC_00: '1',
    MJF_AGENT_EXEC_01: '1',
  });
});

test('without a row of its own it has not that of the exec around it', () => {
  const env = payloadEnvironment(OUTER, NOWHERE, 'MJF_AGENT_EXEC_01=1', undefined);
  assert.deepEqual(Object.keys(env), ['PATH', 'MJF_AGENT_EXEC_00', 'MJF_AGENT_EXEC_01']);
});
