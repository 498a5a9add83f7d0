/** The README's picture of the demo shows what the demo prints now; only times and counts differ. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import { PROGRAM, WAIT_MS } from '../support/program.ts';
import { ROOT } from './documents.ts';

const PICTURE = path.join(ROOT, 'packaging/docs/demo.svg');
/** A picture shall not be most of what a reader fetches. */
const MOST_BYTES = 30_000;

const svg = fs.readFileSync(PICTURE, 'utf8');

describe('picture of the demo', () => {
  it('is small, for dark and light, and fetches nothing', () => {
    assert.ok(svg.length < MOST_BYTES, `${svg.length} bytes`);
    assert.match(svg, /prefers-color-scheme: dark/);
    assert.doesNotMatch(svg, /<script|<image|@import|url\(|href=|\son\w+=/);
  });

  it('is what the demo prints', { skip: fs.existsSync(PROGRAM) ? false : 'needs "npm run build"' }, async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [PROGRAM, 'demo'], { timeout: WAIT_MS });
    const [command, ...shown] = [...svg.matchAll(/^<text[^>]*>(.*)<\/text>$/gm)].map(([, text = '']) => plain(text));
    assert.equal(command, '$ npm run demo');
    assert.deepEqual(
      story(shown),
      story(stdout.trimEnd().split('\n')),
      'stale: node --import tsx packaging/generate/record-demo.ts',
    );
  });
});

const plain = (text: string): string =>
  text
    .replace(/<[^>]*>/g, '')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&amp;', '&');

/** Without what each run makes up anew; the countdown comes and goes with the clock, and neighbours within a moment change places. */
const story = (lines: readonly string[]): readonly string[] =>
  lines
    .filter((line) => !/ left, /.test(line))
    .map((line) =>
      line
        .replace(/^\s*[\d.]+ s {2}/, '')
        .replace(/\/\S*mjf-agent-demo-\w*…?/, 'DIR')
        .replace(/\/views\/[^/]+/, '/views/ID')
        .replace(/p-[0-9a-f]+/, 'ID')
        .replace(/\d{4}-\S+Z/, 'T')
        .replace(/\d+ events|[\d.]+ s before|in \d+ s\b/, 'N'),
    )
    .sort();
