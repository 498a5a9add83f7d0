/** One bad thing after the other done to an agent that knows a good deadline, and what must and must not come of it. */
import assert from 'node:assert/strict';
import { inSecs, type TestAgent } from '../support/agent.ts';
import type { Lifetime } from '../support/lifetime-document.ts';
import { assertFacesAgree, metric, withoutSources } from './faces.ts';

export const MEGABYTE = 1024 * 1024;
export const LATER = inSecs(50_000);

export const MACHINE = { total_cpu: 8, hs06: 171.04, termination_allowed: 1, grace_secs: 60, test_mark: 0 };
export const JOB = { allocated_cpu: 4, max_rss_bytes: 8_000_000_000, job_id: 'vm-17', cpu_limit_secs: 86_400 };

/** What is no UNIX time. Each would be another deadline, an early or a late one, to a reader that is less strict. */
export const NO_TIMES: readonly (readonly [name: string, error: string, content: string])[] = [
  ['two lines', 'two_lines', `${LATER}\n${LATER}\n`],
  ['text', 'not_a_number', 'tomorrow\n'],
  ['a float', 'not_whole', `${LATER}.5\n`],
  ['an exponent', 'not_whole', '1.9e9\n'],
  ['a negative number', 'out_of_range', `-${LATER}\n`],
  ['0', 'out_of_range', '0\n'],
  ['milliseconds', 'out_of_range', `${LATER}000\n`],
  ['nothing', 'empty', ''],
  ['a blank line', 'empty', ' \n'],
  ['bytes that are no text', 'not_text', '\0\0\0\0'],
  ['hexadecimal', 'not_a_number', '0x7fffffff\n'],
  ['a sign', 'not_whole', `+${LATER}\n`],
];

export interface BadKey {
  readonly name: string;
  /** As in `sources[].faults`: `machine/shutdowntime`. */
  readonly key: string;
  /** The stable code. */
  readonly error: string;
  spoil(): void;
  /** Puts the good value back. */
  mend(): void;
}

const sourceOf = (document: Lifetime, name: string) => document.sources.find((source) => source.name === name);
const faultSample = (source: string, error: string) => `mjf_source_faults_total{source="${source}",error="${error}"}`;
const linesOf = (agent: TestAgent, event: string, from: number) =>
  agent.lines.slice(from).filter((line) => line.event === event);

/**
 * Keys go bad and are mended: their last good values stand on every face, the faults are in the document, in the log once
 * each, and counted once each, however often they are read; nothing else changes; the recovery is visible.
 */
export async function assertKeyFaultsAreHarmless(
  agent: TestAgent,
  source: string,
  cases: readonly BadKey[],
  readAgain: () => Promise<void>,
): Promise<void> {
  const names = cases.map(({ name, key }) => `${name} in ${key}`).join(', ');
  const expected = Object.fromEntries(cases.map(({ key, error }) => [key, error]));
  const errors = [...new Set(Object.values(expected))];
  const from = agent.lines.length;
  const before = await agent.lifetime();
  assert.deepEqual(sourceOf(before, source)?.faults, undefined, `${names}: nothing is wrong yet`);
  const counts = () => Promise.all(errors.map(async (error) => (await metric(agent, faultSample(source, error))) ?? 0));
  const counted = await counts();

  for (const { spoil } of cases) spoil();
  for (const { name, key, error } of cases) {
    const line = await agent.log('feature_rejected', (each) => each['key'] === key);
    assert.deepEqual([line['source'], line['error'], line.level], [source, error, 'warn'], name);
  }
  await readAgain();
  const during = await assertFacesAgree(agent);
  assert.deepEqual(sourceOf(during, source)?.faults, expected, names);
  assert.equal(sourceOf(during, source)?.state, 'ok', `${names}: the rest of the source is well`);
  assert.deepEqual(withoutSources(during), withoutSources(before), `${names}: nothing else changes`);
  const more = errors.map((error) => cases.filter((each) => each.error === error).length);
  assert.deepEqual(
    await counts(),
    counted.map((count, index) => count + (more[index] ?? 0)),
    `${names}: counted`,
  );
  assert.equal(linesOf(agent, 'feature_rejected', from).length, cases.length, `${names}: logged once each`);

  for (const { mend } of cases) mend();
  for (const { key } of cases) await agent.log('feature_recovered', (each) => each['key'] === key);
  const after = await agent.until(`${names}: recovered`, (each) => sourceOf(each, source)?.faults === undefined);
  assert.deepEqual(withoutSources(after), withoutSources(before), `${names}: as before`);
  assertNoOtherNews(agent, from, ['feature_rejected', 'feature_recovered']);
}

export interface BadSource {
  readonly name: string;
  readonly error: string;
  /** What may be seen first, where it takes two steps to get there. */
  readonly onTheWay?: string;
  spoil(): void | Promise<void>;
  mend(): void | Promise<void>;
  /** Fulfilled when it has been read some times more in its bad state. */
  readAgain(): Promise<void>;
}

/** What the directory source tells of one of its sides or watches besides. */
const SIDE_EVENTS = ['directory_side_failed', 'directory_side_recovered', 'directory_not_watched'];

/** The same for a source that fails as a whole: everything that it said stands, and it says so itself. */
export async function assertSourceFailureIsHarmless(agent: TestAgent, source: string, bad: BadSource): Promise<void> {
  const { name, error } = bad;
  const from = agent.lines.length;
  const before = await agent.lifetime();
  const failed = `mjf_source_reads_total{source="${source}",outcome="failed"}`;
  const counted = (await metric(agent, failed)) ?? 0;

  await bad.spoil();
  await agent.until(`${name}: failed`, (each) => sourceOf(each, source)?.error === error);
  await bad.readAgain();
  const during = await assertFacesAgree(agent);
  assert.equal(sourceOf(during, source)?.state, 'failed', name);
  assert.deepEqual(withoutSources(during), withoutSources(before), `${name}: nothing else changes`);
  assert.equal(await metric(agent, `mjf_source_up{source="${source}"}`), 0, name);
  assert.ok(((await metric(agent, failed)) ?? 0) > counted, `${name}: counted`);
  const told = linesOf(agent, 'source_failed', from);
  assert.deepEqual([told.length, told[0]?.['source']], [1, source], `${name}: logged once`);
  assert.ok([error, bad.onTheWay].includes(String(told[0]?.['error'])), name);

  await bad.mend();
  await agent.log('source_recovered');
  const after = await agent.until(`${name}: recovered`, (each) => {
    const row = sourceOf(each, source);
    return row?.state === 'ok' && row.faults === undefined;
  });
  assert.deepEqual(withoutSources(after), withoutSources(before), `${name}: as before`);
  assert.equal(await metric(agent, `mjf_source_up{source="${source}"}`), 1, name);
  assertNoOtherNews(agent, from, [
    ...SIDE_EVENTS,
    'source_failed',
    'source_recovered',
    'feature_rejected',
    'feature_recovered',
  ]);
  for (const side of ['machine', 'job'])
    for (const event of SIDE_EVENTS)
      assert.ok(
        // A state on the way there may be seen, and is then another failure.
        linesOf(agent, event, from).filter((line) => line['side'] === side).length <=
          (bad.onTheWay === undefined ? 1 : 2),
        `${name}: ${event} once`,
      );
}

/** Neither a deadline that changed, nor a phase, nor an error, nor anything else worth a line. */
export function assertNoOtherNews(agent: TestAgent, from: number, expected: readonly string[]): void {
  const news = agent.lines.slice(from).filter(({ event }) => !expected.includes(event));
  assert.deepEqual(news, []);
}
