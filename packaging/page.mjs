/**
 * Makes the status page: one HTML document with its style and script in it, and the Content-Security-Policy that lets these
 * two run and nothing else. The same sources give the same bytes.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import esbuild from 'esbuild';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const PAGE = path.join(ROOT, 'agent/publish/page');
/** Browsers of the last four years; what an older one cannot read is the whole script. */
const BROWSERS = ['chrome103', 'firefox102', 'safari16'];

/** @returns {Promise<{ html: string, policy: string }>} */
export async function buildPage(version) {
  const [frame, style, script] = await Promise.all([
    readFile(path.join(PAGE, 'index.html'), 'utf8'),
    bundle('page.css'),
    bundle('dom/main.ts'),
  ]);
  // Either would end its element in the middle.
  if (/<\/(script|style)/i.test(script + style)) throw new Error('script or style of the page hold an end tag');
  const html = [
    ['<style></style>', `<style>${style}</style>`],
    ['<script></script>', `<script>${script}</script>`],
    ['%VERSION%', version],
  ].reduce(
    (text, [place, content]) => {
      if (text.split(place).length !== 2) throw new Error(`the page must have one ${place}`);
      return text.replace(place, () => content);
    },
    frame.replaceAll(/\n\s*/g, '\n'),
  );
  const policy = [
    "default-src 'none'",
    `script-src ${hashOf(script)}`,
    `style-src ${hashOf(style)}`,
    "connect-src 'self'",
    // The icon, which is part of the document too.
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
  return { html, policy };
}

async function bundle(file) {
  const { outputFiles } = await esbuild.build({
    absWorkingDir: PAGE,
    entryPoints: [file],
    outdir: 'out',
    write: false,
    bundle: true,
    format: 'iife',
    platform: 'browser',
    target: BROWSERS,
    charset: 'utf8',
    minify: true,
    legalComments: 'none',
    logLevel: 'warning',
  });
  return outputFiles[0].text.trim();
}

const hashOf = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
