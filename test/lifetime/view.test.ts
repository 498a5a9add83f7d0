/** What a payload with limits of its own is shown: never more than the machine's (issue 4, point 8). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { viewOf } from '../../agent/lifetime/view.ts';
import { history, payload } from './history.ts';

function view(job: Readonly<Record<string, string>>, limits: Readonly<Record<string, string>>) {
  const h = history();
  h.says('directory', { machine: { total_cpu: '8' }, job });
  h.register(payload('p', { limits }));
  return viewOf(h.snapshot(), h.row('p'));
}

test('the rating of its processors is its share of the job’s', () => {
  const job = { allocated_cpu: '4', hs06_job: '40.5', hepscore23_job: '44' };
  const { allocated_cpu, hs06_job, hepscore23_job } = view(job, { allocated_cpu: '1' });
  assert.deepEqual([allocated_cpu, hs06_job, hepscore23_job], ['1', '10.13', '11']);
});

test('with all processors, or more than there are, the rating is the job’s', () => {
  for (const allocated_cpu of ['4', '9'])
    assert.equal(view({ allocated_cpu: '4', hs06_job: '40' }, { allocated_cpu })['hs06_job'], '40');
  assert.equal(view({ allocated_cpu: '4', hs06_job: '40' }, { max_rss_bytes: '5' })['hs06_job'], '40');
});

test('of how many processors the rating speaks is not known: there is none', () => {
  const shown = view({ hs06_job: '40' }, { allocated_cpu: '2' });
  assert.deepEqual([shown['allocated_cpu'], shown['hs06_job']], ['2', undefined]);
});
