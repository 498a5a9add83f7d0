import assert from 'node:assert/strict';
import test from 'node:test';
import pino from 'pino';
import { NO_FACTS } from '../../agent/sources/facts.ts';
import type { SourceEnvironment } from '../../agent/sources/source.ts';
import { type StaticConfig, staticSource } from '../../agent/sources/static.ts';

const environment: SourceEnvironment = {
  root: '/nonexistent',
  runtimeDir: '/nonexistent/run',
  env: {},
  log: pino({ level: 'silent' }),
  firstBootMs: 1_700_000_000_000,
  facts: NO_FACTS,
  pointers: {},
  self: { command: 'node', args: [] },
};

async function read(config: StaticConfig) {
  const [source] = staticSource.create(config, environment);
  assert.ok(source);
  const result = await source.read({ signal: AbortSignal.timeout(1000), fresh: false });
  assert.equal(result.outcome, 'answer');
  return result.outcome === 'answer' ? result.answer : {};
}

test('without a setting there is no source', () => {
  assert.deepEqual(staticSource.create(undefined, environment), []);
  assert.deepEqual(staticSource.create({}, environment), []);
});

test('S2.1 it has the strongest rank and is read once', () => {
  const [source] = staticSource.create({ jobfeatures: {} }, environment);
  assert.deepEqual([source?.name, source?.rank, source?.poll], ['static', 'static', 'once']);
});

test('values become bare MJF text: decimals without exponent, yes and no as 1 and 0', async () => {
  const machinefeatures = {
    hs06: '171.04',
    total_cpu: 8,
    hepscore23: 22.5,
    termination_allowed: true,
    other: false,
    large: 1e21,
    small: 1e-7,
  };
  const { machine, job, notices } = await read({ machinefeatures });
  const values = Object.entries(machine?.keys ?? {}).map(([key, reading]) => [
    key,
    reading.is === 'present' ? reading.value : reading.is,
  ]);
  assert.deepEqual(Object.fromEntries(values), {
    hs06: '171.04',
    total_cpu: '8',
    hepscore23: '22.5',
    termination_allowed: '1',
    other: '0',
    large: '1000000000000000000000',
    small: '0.0000001',
  });
  assert.equal(machine?.complete, true);
  assert.equal(job, undefined, 'a side without a table was not asked');
  assert.equal(notices, undefined);
});

test('S6.2 max_lifetime is a shutdown notice counted from the first boot', async () => {
  const { notices } = await read({ max_lifetime: '72h' });
  assert.deepEqual(notices, {
    complete: true,
    byId: {
      max_lifetime: {
        is: 'present',
        value: {
          kind: 'shutdown',
          deadlineMs: 1_700_000_000_000 + 72 * 3_600_000,
          reason: 'maximum lifetime of 3 d (configuration)',
        },
      },
    },
  });
});
