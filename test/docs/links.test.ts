/** The documents hang together: links and anchors lead somewhere, each block is of a kind that is tried, the list of others is true. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { allDocuments, allManuals, type Document, ROOT, readDocument } from './documents.ts';
import { isNotRun, NOT_RUN } from './not-run.ts';

/** What inside.ts knows how to try. */
const TRIED: ReadonlySet<string> = new Set(['sh', 'bash', 'toml', 'json', 'yaml', 'python', 'cpp', 'ini', 'ts']);
/** Beyond this, documents are for looking at instead of for use. */
const MOST_NOT_RUN = 20;

const documents = allDocuments();
const byFile = new Map(documents.map((document) => [document.file, document]));

describe('documents', () => {
  for (const document of documents)
    it(`${document.file}: every link leads somewhere`, () => {
      assert.deepEqual(brokenLinks(document, byFile), []);
    });

  it('every block is of a kind that is tried, or the output of one, or in the list of not-run.ts', () => {
    const unknown = [...documents, ...allManuals()].flatMap(({ file, blocks }) =>
      blocks
        .filter(
          ({ language, outputOf, lines }) =>
            !TRIED.has(language) &&
            outputOf === undefined &&
            lines[0]?.startsWith('$ ') !== true &&
            !isNotRun(file, lines),
        )
        .map(({ language, line }) => `${file}:${line} "${language}"`),
    );
    assert.deepEqual(unknown, []);
  });

  it('the list of what is not run is short, and each entry is a block of a document, with a reason', () => {
    assert.ok(NOT_RUN.length <= MOST_NOT_RUN, `${NOT_RUN.length} entries`);
    const blocks = [...documents, ...allManuals()].flatMap(({ file, blocks }) =>
      blocks.map(({ lines }) => `${file}: ${lines[0]}`),
    );
    for (const { file, first, why } of NOT_RUN) {
      assert.ok(blocks.includes(`${file}: ${first}`), `no block begins so any more: ${file}: ${first}`);
      assert.ok(why.length > 5);
    }
  });

  it('the README has the two commands that CI runs, each in a block of its own', () => {
    const blocks = byFile.get('README.md')?.blocks.filter(({ language }) => language === 'sh') ?? [];
    for (const command of ['npm ci && npm run demo', 'npm ci && npm test'])
      assert.equal(blocks.filter(({ lines }) => lines.length === 1 && lines[0] === command).length, 1, command);
  });

  it('the README leads to every document, itself or by one that it leads to', () => {
    const seen = new Set(['README.md']);
    for (const file of seen)
      for (const { target } of byFile.get(file)?.links ?? []) {
        const to = path.normalize(path.join(path.dirname(file), target.replace(/#.*/, '')));
        if (byFile.has(to)) seen.add(to);
      }
    assert.deepEqual(
      documents.map(({ file }) => file).filter((file) => !seen.has(file)),
      [],
    );
  });
});

describe('reading documents', () => {
  const read = (...lines: readonly string[]): Document => readDocument('x.md', lines.join('\n'));

  it('finds blocks with their lines, and which output belongs to which command', () => {
    const { blocks } = read(
      '# x',
      '```sh',
      'one',
      '',
      'two',
      '```',
      'prints:',
      '',
      '```',
      'out',
      '```',
      '',
      '~~~toml',
      'a = 1',
      '~~~',
    );
    assert.deepEqual(
      blocks.map(({ language, line, lines }) => [language, line, lines]),
      [
        ['sh', 3, ['one', '', 'two']],
        ['', 10, ['out']],
        ['toml', 14, ['a = 1']],
      ],
    );
    assert.equal(blocks[1]?.outputOf, blocks[0]);
    assert.equal(
      read('```sh', 'one', '```', '', '', '', '', '', '```', 'a picture', '```').blocks[1]?.outputOf,
      undefined,
    );
    assert.throws(() => read('```sh', 'one'), /never closed/);
  });

  it('names headings as GitHub does, and sees a link that leads nowhere', () => {
    const document = read(
      '# What it *is*: `x`',
      '## Twice',
      '## Twice',
      '[a](#twice-1) [b](#thrice) [c](x.md#twice) [d](gone.md)',
    );
    assert.deepEqual([...document.anchors], ['what-it-is-x', 'twice', 'twice-1']);
    assert.deepEqual(brokenLinks(document, new Map([['x.md', document]])), ['x.md:4: #thrice', 'x.md:4: gone.md']);
  });
});

function brokenLinks({ file, links }: Document, known: ReadonlyMap<string, Document>): readonly string[] {
  return links
    .filter(({ target }) => !/^[a-z]+:/.test(target))
    .filter(({ target }) => {
      const [name = '', anchor] = target.split('#');
      const to = name === '' ? file : path.normalize(path.join(path.dirname(file), decodeURI(name)));
      const document = known.get(to);
      if (document === undefined && !fs.existsSync(path.join(ROOT, to))) return true;
      return anchor !== undefined && document !== undefined && !document.anchors.has(anchor);
    })
    .map(({ target, line }) => `${file}:${line}: ${target}`);
}
