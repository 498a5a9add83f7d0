import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SnapshotPayload } from '../../agent/lifetime/types.ts';
import { publicationOf } from '../../agent/publish/publication.ts';
import { history, payload, SECOND, START, secs } from '../lifetime/history.ts';

test('a row of which anything has changed is another publication: whoever looks at it each second must see it', () => {
  const h = history();
  h.register(payload('p'));
  h.says('directory', { machine: { total_cpu: '8', shutdowntime: secs(START + 100 * SECOND) } });
  const before = publicationOf(h.snapshot(), [h.row('p')], null);
  assert.equal(publicationOf(h.snapshot(), [h.row('p')], before), before, 'nothing has changed');
  const row = h.row('p');
  const rest: SnapshotPayload = { ...row, plan: row.plan.map((step) => ({ ...step, rest: true })) };
  assert.notEqual(
    publicationOf(h.snapshot(), [rest], before),
    before,
    'those that the leader left have had their signal',
  );
});
