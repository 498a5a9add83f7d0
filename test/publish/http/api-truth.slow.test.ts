/**
 * The API document tells the truth: every operation is asked, well and badly, and every answer is what is documented, with
 * nothing in it that is not.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Validator } from '@seriousme/openapi-schema-validator';
import { PROBLEMS } from '../../../agent/publish/http/problem-catalogue.ts';
import { api, cases, document } from './api-cases.ts';

test('the document is OpenAPI 3.1, as a validator sees it', async () => {
  const { valid, errors } = await new Validator().validate(structuredClone(document));
  assert.ok(valid, JSON.stringify(errors));
});

test('every answer is what is documented; every documented status is answered', async (t) => {
  const seen = new Set<string>();
  for (const { of, what, status, send } of await cases(t)) {
    const operation = api.operations.get(of);
    assert.ok(operation, of);
    const answer = await send(t);
    assert.equal(answer.status, status, `${of}, ${what}: ${answer.body}`);
    api.check(operation, answer);
    seen.add(`${of} ${status}`);
  }
  const documented = [...api.operations.values()].flatMap(({ id, responses }) =>
    Object.keys(responses).flatMap((status) => (status === 'default' ? [] : [`${id} ${status}`])),
  );
  assert.deepEqual(
    documented.filter((one) => !seen.has(one)),
    [],
    'never answered',
  );
});

test('every code of the catalogue is documented somewhere, and no other', () => {
  const named = [...api.operations.values()].flatMap(({ responses }) =>
    Object.values(responses).flatMap((response) => response['x-codes'] ?? []),
  );
  assert.deepEqual([...new Set(named)].sort(), Object.keys(PROBLEMS).sort());
});

test('names of operations are what client code is written against', () => {
  const ids = [...api.operations.keys()];
  assert.equal(new Set(ids).size, ids.length);
  for (const id of ids) assert.match(id, /^[a-z][A-Za-z]+$/);
});
