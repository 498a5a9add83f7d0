/** The guides for operators (troubleshooting, security, migration) name what the program and the tests have, and all of it. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { logEvents, ROOT, refusalCodes, sourceCodes } from './program-words.ts';

const guide = (name: string): string => fs.readFileSync(path.join(ROOT, 'packaging/docs', `${name}.md`), 'utf8');

/** From a heading to the next one of its own or a higher level. */
function section(text: string, heading: string): string {
  const [, marks = ''] = /^(#+) /.exec(heading) ?? [];
  const start = text.indexOf(`\n${heading}\n`);
  assert.ok(start >= 0, `there is no section "${heading}"`);
  const rest = text.slice(start + heading.length + 2);
  const end = rest.search(new RegExp(`^#{1,${marks.length}} `, 'm'));
  return end < 0 ? rest : rest.slice(0, end);
}

/** What stands in backquotes in the first column of the tables. */
function firstColumn(text: string): readonly string[] {
  return [...text.matchAll(/^\| (.*?) \|/gm)].flatMap(([, cell = '']) =>
    [...cell.matchAll(/`([^`]+)`/g)].map(([, word]) => word ?? ''),
  );
}

/** Both lists hold the same; each once. */
function agree(told: readonly string[], real: ReadonlySet<string>, what: string): void {
  const named = new Set(told);
  assert.deepEqual(
    told.filter((word, index) => told.indexOf(word) !== index),
    [],
    `${what} that stand in the table twice`,
  );
  assert.deepEqual([...real].filter((word) => !named.has(word)).sort(), [], `${what} that the table lacks`);
  assert.deepEqual([...named].filter((word) => !real.has(word)).sort(), [], `${what} of the table that do not exist`);
}

describe('troubleshooting.md', () => {
  const text = guide('troubleshooting');

  it('has every event of the log, and none that there is not', () => {
    agree(firstColumn(section(text, '## Events of the log')), logEvents(), 'events');
  });

  it('has every code of a source, and none that there is not', () => {
    const told = firstColumn(section(text, '### Codes of a source'));
    // Whole families, told by one row each: statuses, and what the system says.
    const families = /^(http_(NNN|\d{3})|enoent|eio|estale|enotconn)$/;
    const real = [...sourceCodes()].filter((code) => !families.test(code));
    agree(
      told.filter((code) => !families.test(code)),
      new Set(real),
      'codes',
    );
    for (const family of ['http_NNN', 'enoent']) assert.ok(told.includes(family), family);
  });

  it('has every code of a refusal, and none that there is not', () => {
    agree(firstColumn(section(text, '### Refused: 403 and 429')), refusalCodes(), 'codes');
  });
});

describe('links', () => {
  for (const name of ['troubleshooting', 'security', 'migration'])
    it(`of ${name}.md lead somewhere`, () => {
      const text = guide(name);
      const headings = new Set([...text.matchAll(/^#+ (.*)$/gm)].map(([, title = '']) => anchorOf(title)));
      const links = [...text.matchAll(/\]\(([^)]+)\)/g)].map(([, target = '']) => target);
      assert.ok(links.length > 0 || name === 'migration');
      const dead = links.filter((target) =>
        target.startsWith('#')
          ? !headings.has(target.slice(1))
          : !fs.existsSync(path.join(ROOT, 'packaging/docs', target)),
      );
      assert.deepEqual(dead, []);
    });
});

/** As the usual renderers make it of a heading. */
function anchorOf(title: string): string {
  return title
    .toLowerCase()
    .replace(/[^\w\- ]/g, '')
    .replaceAll(' ', '-');
}

describe('security.md', () => {
  const text = guide('security');
  /** `test/x.test.ts`: "name", and further names after it; a name may be a part, where the rest is filled in. */
  const proofs = [...text.matchAll(/`(test\/[\w./-]+)`((?:(?:: | · )"[^"]+")*)/g)].map(([, file = '', names = '']) => ({
    file,
    names: [...names.matchAll(/"([^"]+)"/g)].map(([, name]) => name ?? ''),
  }));

  it('names tests that there are, by the names that they have', () => {
    assert.ok(proofs.length > 25, `only ${proofs.length} proofs were found: has their form changed?`);
    const wrong = proofs.flatMap(({ file, names }) => {
      const source = path.join(ROOT, file);
      if (!fs.existsSync(source)) return [`${file} is not there`];
      const code = fs.readFileSync(source, 'utf8');
      return names.filter((name) => !isNamed(code, name)).map((name) => `${file} has no test "${name}"`);
    });
    assert.deepEqual(wrong, []);
  });

  it('says of each unit what it may, as the unit itself does', () => {
    const rows = [...text.matchAll(/^\| `(mjf-agent[\w@-]*\.service)` \| (.*?) \| (.*?) \| (.*?) \|/gm)];
    assert.deepEqual(rows.map(([, unit]) => unit).sort(), unitNames());
    for (const [, unit = '', user = '', capabilities = '', network] of rows) {
      const settings = fs.readFileSync(path.join(ROOT, 'packaging/systemd', unit), 'utf8');
      const bound = /^CapabilityBoundingSet=(.*)$/m.exec(settings)?.[1];
      assert.deepEqual(capabilities.match(/CAP_\w+/g), bound?.split(' '), unit);
      assert.equal(network, /^PrivateNetwork=yes$/m.test(settings) ? 'none' : 'yes', unit);
      assert.equal(/^User=mjf-agent$/m.test(settings), user.startsWith('`mjf-agent`'), unit);
    }
  });
});

/** As the name of a test, or at the beginning of one: right after the quote. */
function isNamed(code: string, name: string): boolean {
  return ["'", '"', '`'].some((quote) => code.includes(quote + name));
}

function unitNames(): readonly string[] {
  return fs
    .readdirSync(path.join(ROOT, 'packaging/systemd'))
    .filter((name) => name.endsWith('.service'))
    .sort();
}
