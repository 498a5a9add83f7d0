import assert from 'node:assert/strict';
import test from 'node:test';
import { ask, run } from './harness.ts';

test('metrics are text format 0.0.4, whatever is asked for, and never from a cache', async (t) => {
  const { url } = await run(t);
  const wishes = [
    undefined,
    // As Prometheus 2 and 3 ask.
    'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1',
    'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.1',
    'application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited',
    'text/html',
  ];
  for (const accept of wishes) {
    const { status, headers, body } = await ask(`${url}/metrics`, { headers: accept === undefined ? {} : { accept } });
    assert.equal(status, 200, accept);
    assert.equal(headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8', accept);
    assert.equal(headers['cache-control'], 'no-store');
    assert.match(body, /^# HELP mjf_/);
  }
});
