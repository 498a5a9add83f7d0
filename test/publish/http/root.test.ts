import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { pathToFileURL } from 'node:url';
import { prefersHtml, type StatusPage } from '../../../agent/publish/http/root.ts';
import { ask, run } from './harness.ts';

const ROOT = path.resolve(import.meta.dirname ?? __dirname, '../../..');
const PAGE_DIR = path.join(ROOT, 'agent/publish/page');
/** The bound for all of the page, bytes. */
const MOST_BYTES = 60_000;

const MAKER = `import(${JSON.stringify(pathToFileURL(path.join(ROOT, 'packaging/page.mjs')).href)})
  .then(({ buildPage }) => buildPage('1.2.3')).then((page) => process.stdout.write(JSON.stringify(page)));`;
/** As the build makes it. */
function makePage(): StatusPage {
  return JSON.parse(execFileSync(process.execPath, ['-e', MAKER], { cwd: '/', encoding: 'utf8', maxBuffer: 1 << 20 }));
}
const page = makePage();
const BROWSER = 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8';

for (const [accept, html] of [
  [undefined, false],
  ['*/*', false],
  ['text/plain', false],
  ['application/json', false],
  [BROWSER, true],
  ['text/html', true],
  ['TEXT/HTML; charset=utf-8', true],
  ['text/html;q=0', false],
  ['text/plain, text/html;q=0.9', false],
  ['text/plain;q=0.5, text/html;q=0.9', true],
  ['text/html;q=many', false],
  ['text/htmlx', false],
] as const)
  test(`Accept: ${accept ?? '(none)'} gets the ${html ? 'page' : 'list'}`, () => {
    assert.equal(prefersHtml(accept), html);
  });

test('/ is the page for a browser, with a policy for exactly its own script and style, and the list for curl', async (t) => {
  const { url } = await run(t, { page });
  const shown = await ask(`${url}/`, { headers: { accept: BROWSER } });
  assert.equal(shown.status, 200);
  assert.equal(shown.body, page.html);
  assert.equal(shown.headers['content-type'], 'text/html; charset=utf-8');
  assert.equal(shown.headers['content-security-policy'], page.policy);
  assert.equal(shown.headers['x-content-type-options'], 'nosniff');
  assert.equal(shown.headers['referrer-policy'], 'no-referrer');
  assert.equal(shown.headers['cache-control'], 'no-cache');
  assert.equal(shown.headers.vary, 'Accept');
  const etag = shown.headers.etag ?? '';
  const again = await ask(`${url}/`, { headers: { accept: BROWSER, 'if-none-match': etag } });
  assert.deepEqual([again.status, again.body], [304, '']);
  assert.equal(again.headers['content-security-policy'], page.policy);
  const list = await ask(`${url}/`, { headers: { accept: '*/*', 'if-none-match': etag } });
  assert.equal(list.status, 200, 'the tag of the page is none of the list');
  assert.equal(list.headers.vary, 'Accept');
  assert.match(list.headers['content-type'] ?? '', /^text\/plain/);
  assert.match(list.body, /^GET +\/v1\/history +\S/m);
  assert.equal(list.headers['content-security-policy'], "default-src 'none'");
  const head = await ask(`${url}/`, { method: 'HEAD', headers: { accept: BROWSER } });
  assert.deepEqual([head.status, head.body, head.headers.etag], [200, '', etag]);
});

test('the page is refused like everything else to a foreign name, origin or site', async (t) => {
  const { url } = await run(t, { page });
  for (const headers of [
    { host: 'evil.example' },
    { origin: 'http://evil.example' },
    { 'sec-fetch-site': 'cross-site' },
  ]) {
    const answer = await ask(`${url}/`, { headers: { accept: BROWSER, ...headers } });
    assert.equal(answer.status, 403);
    assert.doesNotMatch(answer.body, /<html/);
  }
  // Through `ssh -L 9000:localhost:8653`.
  const tunnelled = { accept: BROWSER, host: 'localhost:9000', 'sec-fetch-site': 'none' };
  assert.equal((await ask(`${url}/`, { headers: tunnelled })).status, 200);
});

test('a program that runs from its sources says where the page is', async (t) => {
  const { url } = await run(t);
  const answer = await ask(`${url}/`, { headers: { accept: BROWSER } });
  assert.match(answer.headers['content-type'] ?? '', /^text\/plain/);
  assert.match(answer.body, /part of the built program/);
  assert.match(answer.body, /^GET +\/v1\/lifetime/m);
  assert.doesNotMatch((await ask(`${url}/`)).body, /built program/);
});

test('the page is small, whole, and made of the same bytes each time', () => {
  const bytes = Buffer.byteLength(page.html);
  assert.ok(bytes < MOST_BYTES, `${bytes} bytes`);
  assert.ok(bytes > 10_000, `${bytes} bytes: something is missing`);
  assert.deepEqual(makePage(), page);
  assert.match(page.html, /mjf-agent 1\.2\.3 ·/);
});

test('the policy allows exactly what is in the page, and nothing from elsewhere', () => {
  const hash = (text = '') => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
  const [script] = /(?<=<script>)[\s\S]*?(?=<\/script>)/.exec(page.html) ?? [];
  const [style] = /(?<=<style>)[\s\S]*?(?=<\/style>)/.exec(page.html) ?? [];
  assert.deepEqual(page.policy.split('; '), [
    "default-src 'none'",
    `script-src ${hash(script)}`,
    `style-src ${hash(style)}`,
    "connect-src 'self'",
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ]);
  assert.doesNotMatch(page.html, /https?:\/\//, 'no address but its own');
  assert.doesNotMatch(page.html, /\s(?:on\w+|style)=["']/, 'no handler and no style in the markup');
  assert.equal(page.html.match(/<script/g)?.length, 1);
});

test('no text becomes markup: nothing in the sources of the page parses any', () => {
  const files = fs.readdirSync(PAGE_DIR, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  assert.ok(files.length > 10);
  for (const file of files) {
    const text = fs.readFileSync(path.join(PAGE_DIR, file), 'utf8');
    const parsers =
      /innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|srcdoc|setHTML|\beval\b|new Function/;
    assert.doesNotMatch(text, parsers, file);
  }
});
