/**
 * Every block of code in every document, done as its reader would: commands in a machine of their own with the built daemon at
 * its usual places, configuration through `mjf-agent check`, what is shown as output beside what comes out.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { before, describe, it } from 'node:test';
import { killAtExit, PROGRAM } from '../support/program.ts';
import { allDocuments, allManuals, ROOT, readDocument } from './documents.ts';
import type { BlockOutcome } from './inside.ts';
import { isNotRun } from './not-run.ts';

const SANDBOX = path.join(ROOT, 'test/docs/sandbox.sh');
const UNSHARE = ['unshare', '--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc', 'sh', SANDBOX, ROOT];
/** A document with many commands takes some seconds. */
const DOCUMENT_MS = 240_000;

function whyNot(): string | false {
  if (process.getuid?.() !== 0) return 'needs root, for name spaces of its own';
  for (const tool of ['unshare', 'ip', 'curl'])
    if (spawnSync(tool, ['--version']).error !== undefined && spawnSync(tool, ['-V']).error !== undefined)
      return `needs ${tool}`;
  if (!fs.existsSync(PROGRAM)) return 'needs "npm run build"';
  const [command = '', ...args] = UNSHARE;
  const tried = spawnSync(command, [...args, 'true'], { encoding: 'utf8' });
  return tried.status === 0 ? false : `needs name spaces: ${tried.stderr.trim()}`;
}

/** One sandbox for one document: its blocks follow each other, as for somebody who reads it from the top. */
function runDocument(file: string): Promise<{ readonly outcomes: readonly BlockOutcome[]; readonly rest: string }> {
  const [command = '', ...args] = UNSHARE;
  const inside = [process.execPath, '--import', 'tsx', 'test/docs/inside.ts', file];
  const child = spawn(command, [...args, ...inside], { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] });
  killAtExit(child);
  const late = setTimeout(() => child.kill('SIGKILL'), DOCUMENT_MS);
  let out = '';
  let rest = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    rest += text;
  });
  return new Promise((resolve) => {
    child.once('close', (code, signal) => {
      clearTimeout(late);
      const outcomes = out
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line) as BlockOutcome);
      resolve({ outcomes, rest: `${rest}\nthe sandbox ended with ${code ?? signal}` });
    });
  });
}

const skip = whyNot();

/** Wrong in every block, so that this test is known to be able to fail; their last lines say what must be found. */
const WRONG = 'test/docs/wrong.md';

describe('documents: what is wrong is found', { skip }, () => {
  it(`every block of ${WRONG}, with its line and what came out`, async () => {
    const { blocks } = readDocument(WRONG);
    const { outcomes, rest } = await runDocument(WRONG);
    assert.equal(outcomes.length, blocks.length, rest);
    for (const { line, lines } of blocks) {
      const [, expected] = /(?:#|means:) (.*)$/.exec(lines.at(-1) ?? '') ?? [];
      const { wrong } = outcomes.find((each) => each.line === line) ?? {};
      // Only the command whose output is shown wrongly below it is right.
      if (expected === undefined) assert.equal(wrong, undefined);
      else assert.match(wrong ?? 'nothing was found', new RegExp(expected), `${WRONG}:${line}`);
    }
  });
});

describe('documents: every snippet', { skip, concurrency: 2 }, () => {
  for (const { file, blocks } of [...allDocuments(), ...allManuals()]) {
    const tried = blocks.filter(({ lines }) => !isNotRun(file, lines));
    if (tried.length === 0) continue;
    describe(file, () => {
      let ran: Awaited<ReturnType<typeof runDocument>>;
      before(async () => {
        ran = await runDocument(file);
      });
      for (const { line, language, lines } of tried)
        it(`${file}:${line} ${language || 'output'}: ${lines[0]?.slice(0, 60)}`, (t) => {
          const outcome = ran.outcomes.find((each) => each.line === line);
          assert.ok(outcome, `${file}:${line} was not reached:\n${ran.rest}`);
          if (outcome.skipped !== undefined) t.skip(outcome.skipped);
          if (outcome.wrong !== undefined) assert.fail(`${file}:${line}, ${language || 'output'}\n${outcome.wrong}`);
        });
    });
  }
});
