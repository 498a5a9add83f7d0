/**
 * `kill -9` of the agent at random moments of an escalation, several times in each, restarted at once: no step lost, none
 * doubled but those counted as uncertain, none late by more than the restart (issue "Stopping payloads", "How it is judged").
 *
 *   MJF_KILLS_SEED      the seed that a run printed, to have the same moments again
 *   MJF_KILLS           so many kills at least (300)
 *   MJF_KILLS_PROGRAM   another bundle than dist/mjf-agent.cjs
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { PROGRAM } from '../support/program.ts';
import { startZoo, whyNoZoo } from '../support/zoo.ts';
import { momentsOf, randomFrom } from './random-kills/moments.ts';
import { playKills } from './random-kills/story.ts';
import { type Counts, judgeKills } from './random-kills/verdict.ts';

const SEED = Number(process.env['MJF_KILLS_SEED'] ?? randomInt(2 ** 31));
const KILLS = Number(process.env['MJF_KILLS'] ?? 300);
/** Two processors, and an agent that starts keeps one of them busy for a third of a second. */
const AT_ONCE = 3;

test('the agent may be killed again and again at any moment of an escalation', {
  skip: whyNoZoo() ?? false,
}, async (t) => {
  t.diagnostic(`seed ${SEED}`);
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-kills-program-'));
  t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
  // A copy: somebody may build meanwhile.
  const program = path.join(dir, 'mjf-agent.cjs');
  fs.copyFileSync(process.env['MJF_KILLS_PROGRAM'] ?? PROGRAM, program);
  const zoo = await startZoo(t, path.join(dir, 'records'));

  const stories: { readonly name: string; readonly moments: readonly number[] }[] = [];
  for (let planned = 0; planned < KILLS; planned += stories.at(-1)?.moments.length ?? KILLS) {
    const moments = momentsOf(randomFrom(SEED + stories.length));
    stories.push({ name: `story ${stories.length} of seed ${SEED}`, moments });
  }
  const faults: string[] = [];
  const total = { stories: 0, kills: 0, steps: 0, uncertain: 0, skipped: 0, given_up: 0, worstDelayMs: 0 };
  const worker = async (): Promise<void> => {
    for (let story = stories.shift(); story !== undefined; story = stories.shift()) {
      const { name, moments } = story;
      try {
        const survived = await playKills({ program, zoo, moments });
        const judged = judgeKills(survived);
        total.stories += 1;
        total.kills += survived.kills.length;
        add(total, judged.counts);
        faults.push(...judged.faults.map((fault) => `${name} (${moments.map(Math.round)}): ${fault}`));
      } catch (error) {
        faults.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  t.diagnostic(JSON.stringify(total));
  assert.deepEqual(faults, []);
  assert.ok(total.kills >= KILLS, 'as many kills as were asked for');
});

function add(total: Counts, counts: Counts): void {
  for (const key of ['steps', 'uncertain', 'skipped', 'given_up'] as const) total[key] += counts[key];
  total.worstDelayMs = Math.max(total.worstDelayMs, counts.worstDelayMs);
}
