/**
 * Issue 2, "Bad input": the last good value stands, the fault is visible in `lifetime.json`, log and metrics, nothing else
 * happens; and the agent sees by itself that all is well again. Against the built program, many cases in one running agent.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test, { describe } from 'node:test';
import { inSecs, startAgent } from '../support/agent.ts';
import { plainUser } from '../support/program.ts';
import {
  assertKeyFaultsAreHarmless,
  assertNoOtherNews,
  assertSourceFailureIsHarmless,
  JOB,
  MACHINE,
  MEGABYTE,
  NO_TIMES,
} from './bad-input.ts';
import { assertFacesAgree, furtherReads, metric, withoutSources } from './faces.ts';

/** As fast as the agent allows (S7). */
const FAST_DIRECTORY = '[source.directory]\npoll = "200ms"\n';
/** The same on keys of other kinds. */
const NO_VALUES: readonly (readonly [side: 'machine' | 'job', key: string, error: string, content: string])[] = [
  ['machine', 'total_cpu', 'not_whole', '7.5\n'],
  ['machine', 'total_cpu', 'out_of_range', '0\n'],
  ['machine', 'hs06', 'not_a_number', '1.7e2\n'],
  ['machine', 'hs06', 'not_a_number', 'NaN\n'],
  ['machine', 'grace_secs', 'out_of_range', '-60\n'],
  ['machine', 'termination_allowed', 'not_a_flag', 'perhaps\n'],
  ['job', 'allocated_cpu', 'two_lines', '4\n4\n'],
  ['job', 'max_rss_bytes', 'not_a_number', '8 GB\n'],
  ['job', 'job_id', 'not_an_identifier', 'two words\n'],
  ['job', 'cpu_limit_secs', 'empty', '\n'],
];

describe('bad input in directories', { concurrency: true }, () => {
  test('directory: what is no value, or no file, costs a log line and a counter', async (t) => {
    const deadline = inSecs(7200);
    const agent = await startAgent(t, {
      config: FAST_DIRECTORY,
      machine: { ...MACHINE, shutdowntime: deadline },
      job: JOB,
    });
    const file = path.join(agent.hostDirs.machine, 'shutdowntime');
    const things: readonly (readonly [name: string, error: string, spoil: () => void])[] = [
      ...NO_TIMES.map(
        ([name, error, text]) => [name, error, () => agent.hostDirs.write('machine', 'shutdowntime', text)] as const,
      ),
      [
        '1 MB of garbage',
        'too_large',
        () => agent.hostDirs.write('machine', 'shutdowntime', Buffer.alloc(MEGABYTE, '7')),
      ],
      ['a directory in place of the file', 'not_a_file', () => replace(file, () => fs.mkdirSync(file))],
      ['a FIFO that nobody writes to', 'not_a_file', () => replace(file, () => execFileSync('mkfifo', [file]))],
      ['a link to nothing', 'dangling_link', () => replace(file, () => fs.symlinkSync('/nowhere/at/all', file))],
    ];
    for (const [name, error, spoil] of things) {
      const mend = () => agent.hostDirs.set('machine', 'shutdowntime', deadline);
      const bad = { name, key: 'machine/shutdowntime', error, spoil, mend };
      await assertKeyFaultsAreHarmless(agent, 'directory', [bad], agent.readAgain);
    }
    for (const [side, key, error, text] of NO_VALUES) {
      const good = { ...MACHINE, ...JOB }[key as keyof (typeof MACHINE & typeof JOB)];
      const bad = {
        name: `${key} = ${JSON.stringify(text)}`,
        key: `${side}/${key}`,
        error,
        spoil: () => agent.hostDirs.write(side, key, text),
        mend: () => agent.hostDirs.set(side, key, good),
      };
      await assertKeyFaultsAreHarmless(agent, 'directory', [bad], agent.readAgain);
    }
    assert.equal((await agent.lifetime()).deadline, deadline);
    assert.deepEqual(await agent.stop(), { code: 0, signal: null });
  });

  test('directory: line ends and blanks of any kind are fine', async (t) => {
    const agent = await startAgent(t, { config: FAST_DIRECTORY, machine: MACHINE, job: JOB });
    const from = agent.lines.length;
    const forms = [(at: number) => `${at}\r\n`, (at: number) => `  ${at}\t \n`, String, (at: number) => `${at}\n\n`];
    for (const [index, form] of forms.entries()) {
      const at = inSecs(7200 + index * 60);
      agent.hostDirs.write('machine', 'shutdowntime', form(at));
      await agent.until(`taken: ${JSON.stringify(form(at))}`, ({ deadline }) => deadline === at);
      assert.equal(agent.file('machinefeatures/shutdowntime'), `${at}\n`);
    }
    assertNoOtherNews(agent, from, ['deadline_changed', 'notice_new', 'notice_changed']);
  });

  test('directory: vanished, replaced or emptied, it says nothing and clears nothing', async (t) => {
    const deadline = inSecs(7200);
    const agent = await startAgent(t, {
      config: FAST_DIRECTORY,
      machine: { ...MACHINE, shutdowntime: deadline },
      job: JOB,
    });
    const { machine, job } = agent.hostDirs;
    const away = (dir: string) => `${dir}.away`;
    const takeAway = () => {
      for (const dir of [machine, job]) fs.renameSync(dir, away(dir));
    };
    const bringBack = () => {
      for (const dir of [machine, job]) {
        fs.rmSync(dir, { recursive: true, force: true });
        fs.renameSync(away(dir), dir);
      }
    };
    const readAgain = () => furtherReads(agent, 'directory', 3);
    await assertSourceFailureIsHarmless(agent, 'directory', {
      name: 'both directories vanished',
      error: 'directory_missing',
      spoil: takeAway,
      mend: bringBack,
      readAgain,
    });
    await assertSourceFailureIsHarmless(agent, 'directory', {
      name: 'files in place of both directories',
      error: 'not_a_directory',
      onTheWay: 'directory_missing',
      spoil() {
        takeAway();
        for (const dir of [machine, job]) fs.writeFileSync(dir, '');
      },
      mend: bringBack,
      readAgain,
    });

    // One side alone: the other one goes on, and each of its own keys is known to be unknown.
    const from = agent.lines.length;
    const before = await agent.lifetime();
    const missing = 'mjf_source_faults_total{source="directory",error="directory_missing"}';
    // Above, one of the two may have been seen to be away before the other was.
    const counted = (await metric(agent, missing)) ?? 0;
    fs.renameSync(machine, away(machine));
    const lost = await agent.log('directory_side_failed');
    assert.deepEqual([lost['side'], lost['error']], ['machine', 'directory_missing']);
    agent.hostDirs.set('job', 'cpu_limit_secs', 3600);
    const during = await agent.until(
      'the other side is read',
      (each) => each.jobfeatures['cpu_limit_secs']?.value === '3600',
    );
    assert.equal(during.deadline, deadline);
    assert.deepEqual(during.machinefeatures, before.machinefeatures);
    const { faults } = during.sources.find(({ name }) => name === 'directory') ?? {};
    const keys = [...Object.keys(MACHINE), 'shutdowntime'].map((key) => [`machine/${key}`, 'directory_missing']);
    assert.deepEqual(faults, Object.fromEntries(keys));
    assert.equal((await metric(agent, missing)) ?? 0, counted + keys.length);
    await furtherReads(agent, 'directory', 3);
    fs.renameSync(away(machine), machine);
    await agent.log('directory_side_recovered');
    await agent.until('well again', (each) => each.sources.every((source) => source.faults === undefined));
    // A reading that was on its way when the directory went sees its keys gone first: another fault, with its own lines.
    const rejected = agent.lines
      .slice(from)
      .filter(({ event, error }) => event === 'feature_rejected' && error !== 'all_gone');
    assert.deepEqual(
      rejected.map((line) => `${line['key']} ${line['error']}`).sort(),
      keys.map((pair) => pair.join(' ')).sort(),
      'each key once, however often it was read',
    );
  });

  test('directory: all keys gone at once for longer than an absence takes is unknown, not cleared (S1.6)', async (t) => {
    const deadline = inSecs(7200);
    const agent = await startAgent(t, {
      config: FAST_DIRECTORY,
      machine: { ...MACHINE, shutdowntime: deadline },
      job: JOB,
    });
    const before = await agent.lifetime();
    for (const dir of [agent.hostDirs.machine, agent.hostDirs.job]) {
      for (const name of fs.readdirSync(dir)) fs.rmSync(path.join(dir, name));
    }
    await agent.until('noticed', ({ sources }) => sources.some(({ error }) => error === 'all_gone'));
    // At five readings a second: far more than three, over more than three seconds.
    await furtherReads(agent, 'directory', 20);
    assert.deepEqual(withoutSources(await assertFacesAgree(agent)), withoutSources(before));
  });

  test('directory: without permission nothing is known, and nothing cleared', async (t) => {
    const user = plainUser();
    if ('reason' in user) return t.skip(user.reason);
    const deadline = inSecs(7200);
    const agent = await startAgent(t, {
      ...(user.own ? {} : { uid: user.uid }),
      config: FAST_DIRECTORY,
      machine: { ...MACHINE, shutdowntime: deadline },
      job: JOB,
    });
    const { machine, job } = agent.hostDirs;
    const bad = {
      name: 'an unreadable file',
      key: 'machine/shutdowntime',
      error: 'permission',
      spoil: () => fs.chmodSync(path.join(machine, 'shutdowntime'), 0o000),
      mend: () => fs.chmodSync(path.join(machine, 'shutdowntime'), 0o644),
    };
    await assertKeyFaultsAreHarmless(agent, 'directory', [bad], agent.readAgain);
    const chmod = (mode: number) => () => {
      for (const dir of [machine, job]) fs.chmodSync(dir, mode);
    };
    await assertSourceFailureIsHarmless(agent, 'directory', {
      name: 'unreadable directories',
      error: 'permission',
      spoil: chmod(0o000),
      mend: chmod(0o755),
      readAgain: () => furtherReads(agent, 'directory', 3),
    });
  });
});

function replace(file: string, make: () => void): void {
  fs.rmSync(file);
  make();
}
