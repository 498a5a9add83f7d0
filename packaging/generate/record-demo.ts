/**
 * Plays the built demo and makes packaging/docs/demo.svg of what it prints: `npm run build && node --import tsx
 * packaging/generate/record-demo.ts`. Once more when the demo has changed; test/docs/demo-picture.slow.test.ts says when.
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { terminalPicture } from './picture.ts';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
/** It takes half a minute. */
const DEMO_MS = 120_000;
const TITLE =
  'The demo: the site announces a shutdown 20 seconds ahead; the agent drains, then stops the payload, which writes its checkpoint and ends before the deadline; the site is told.';

const printed = execFileSync(process.execPath, [path.join(ROOT, 'dist/mjf-agent.cjs'), 'demo'], {
  encoding: 'utf8',
  timeout: DEMO_MS,
});
const lines = printed
  .trimEnd()
  .split('\n')
  // What is made up anew each time says nothing.
  .map((line) => line.replace(/\/\S*(mjf-agent-demo-)\w+/g, '/tmp/$1…').replace(/\/views\/\w+/, '/views/…'));
fs.writeFileSync(path.join(ROOT, 'packaging/docs/demo.svg'), terminalPicture('npm run demo', lines, TITLE));
