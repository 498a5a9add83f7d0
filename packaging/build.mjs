/**
 * Makes dist/mjf-agent.cjs, the whole program as one executable file, and dist/THIRD-PARTY-LICENSES.txt.
 * The same sources give the same bytes in any directory and at any time. `node packaging/build.mjs [OUTPUT_DIRECTORY]`.
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import esbuild from 'esbuild';
import { buildPage } from './page.mjs';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

/** node-cron reads import.meta.url when it loads; in CommonJS there is none. */
const META_URL = '__mjf_import_meta_url';
/** The handler of main.ts once more: it must be the very first statement of the bundle (SYSTEMS.md, "Signals"). */
const BANNER = `#!/usr/bin/env node
process.on('SIGUSR1', () => undefined);
const ${META_URL} = require('node:url').pathToFileURL(__filename).href;`;

/** Licence files are called anything. */
const LICENSE_FILE = /^(licen[cs]e|copying|notice)(\.(md|txt))?$/i;

/**
 * pino starts a worker thread from a file of its own for transports. The agent uses none, and in
 * a bundle that file does not exist: a stub says so instead of failing obscurely.
 */
const withoutTransports = {
  name: 'without-pino-transports',
  setup(build) {
    build.onResolve({ filter: /^thread-stream$/ }, () => ({ path: 'thread-stream', namespace: 'stub' }));
    build.onLoad({ filter: /.*/, namespace: 'stub' }, () => ({
      contents: 'module.exports = function () { throw new Error("pino transports are not part of this build"); };',
    }));
  },
};

/** Builds into `outputDirectory`; both files appear by rename, so that a running test never meets half a program. */
export async function build(outputDirectory) {
  const manifest = JSON.parse(await readFile(path.join(ROOT, 'package.json'), 'utf8'));
  const page = await buildPage(manifest.version);
  const result = await esbuild.build({
    absWorkingDir: ROOT,
    entryPoints: ['agent/main.ts'],
    outfile: 'dist/mjf-agent.cjs',
    write: false,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    // A standalone executable has no import() of its own, not even of Node's modules: they are required when called.
    supported: { 'dynamic-import': false },
    charset: 'utf8',
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    metafile: true,
    banner: { js: BANNER },
    define: {
      'import.meta.url': META_URL,
      MJF_AGENT_VERSION: JSON.stringify(manifest.version),
      MJF_AGENT_PAGE: JSON.stringify(page.html),
      MJF_AGENT_PAGE_POLICY: JSON.stringify(page.policy),
    },
    plugins: [withoutTransports],
    logLevel: 'warning',
  });
  const [program] = result.outputFiles;
  await mkdir(outputDirectory, { recursive: true });
  await replaceFile(path.join(outputDirectory, 'mjf-agent.cjs'), program.contents, 0o755);
  const licenses = await collectLicenses(Object.keys(result.metafile.inputs));
  await replaceFile(path.join(outputDirectory, 'THIRD-PARTY-LICENSES.txt'), licenses, 0o644);
  return { metafile: result.metafile, bytes: program.contents.length };
}

async function replaceFile(file, contents, mode) {
  const temporary = `${file}.${process.pid}.tmp`;
  try {
    await writeFile(temporary, contents, { mode });
    await rename(temporary, file);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Name, version, licence and licence text of each package that has a file in the bundle, by name. */
async function collectLicenses(inputs) {
  const directories = new Set(inputs.map((input) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1]));
  const sections = [];
  for (const directory of [...directories].filter(Boolean).sort()) {
    const absolute = path.join(ROOT, directory);
    const manifest = JSON.parse(await readFile(path.join(absolute, 'package.json'), 'utf8'));
    const files = (await readdir(absolute)).filter((name) => LICENSE_FILE.test(name)).sort();
    const texts = await Promise.all(files.map((name) => readFile(path.join(absolute, name), 'utf8')));
    const text = texts.map((one) => one.replaceAll('\r\n', '\n').trim()).join('\n\n');
    const fallback = `No licence text in the package; its package.json states: ${manifest.license}`;
    sections.push(`${manifest.name} ${manifest.version} (${manifest.license})\n\n${text || fallback}\n`);
  }
  return `mjf-agent contains the following packages.\n\n${[...new Set(sections)].join(`\n${'-'.repeat(78)}\n\n`)}`;
}

if (process.argv[1] && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await build(path.resolve(process.argv[2] ?? path.join(ROOT, 'dist')));
}
