/** The arrows of DESIGN.md's picture ("One direction of flow", "Layout"), kept by reading the imports of every file. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

interface Import {
  /** `agent/sources/mjf.ts` */
  readonly from: string;
  /** `agent/clock.ts` for a file of ours, else the module's name (`node:fs`, `pino`). */
  readonly to: string;
}

/** What stands in a file after `from`, after a bare `import`, or in `import(…)`. */
function importsOf(source: string): readonly string[] {
  const statement = /^[ \t]*(?:import|export)\b[^;'"]*?\bfrom\s*['"]([^'"]+)['"]/gm;
  const bare = /^[ \t]*import\s*['"]([^'"]+)['"]/gm;
  const dynamic = /(?<![\w.])import\(\s*['"]([^'"]+)['"]/g;
  return [statement, bare, dynamic].flatMap((pattern) => [...source.matchAll(pattern)].map(([, name]) => name ?? ''));
}

const files = fs
  .readdirSync(path.join(ROOT, 'agent'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => path.posix.join('agent', file.split(path.sep).join('/')));
const textOf = new Map(files.map((file) => [file, fs.readFileSync(path.join(ROOT, file), 'utf8')]));
const imports: readonly Import[] = [...textOf].flatMap(([from, text]) =>
  importsOf(text).map((name) => ({
    from,
    to: name.startsWith('.') ? path.posix.join(path.posix.dirname(from), name) : name,
  })),
);

/** What a rule forbids and is right all the same. Each is one arrow and has its reason. */
const EXCEPTIONS: readonly (readonly [from: RegExp, to: string, reason: string])[] = [
  [
    /^agent\/publish\/http\//,
    'agent/payloads/process.ts',
    'who calls and who registers is read from /proc in one place',
  ],
  [
    /^agent\/publish\/http\/identify-process\.ts$/,
    'agent/payloads/marker.ts',
    'whether a process carries the marker that its registration names is read from /proc in one place',
  ],
  [
    /^agent\/sources\/create\.ts$/,
    'agent/config/types.ts',
    'types only: chooses the sources that the configuration names',
  ],
  [
    /^agent\/sources\/driver(-\w+)?\.ts$/,
    'agent/ports.ts',
    'types only: what /v1/sources shows of a source is what its driver knows',
  ],
  [/^agent\/payloads\//, 'agent/journal.ts', 'types only: a delivery is written down where it happens'],
  [/^agent\/main\.ts$/, 'agent/sources/directory/reader-main.ts', 'a child process of its own, chosen by argv'],
  [/^agent\/main\.ts$/, 'agent/report/write-main.ts', 'a child process of its own, chosen by argv'],
  [/^agent\/main\.ts$/, 'agent/sources/drive-copy-main.ts', 'a child process of its own, chosen by argv'],
  [
    /^agent\/sources\/drive(-\w+)*\.ts$/,
    'agent/sources/directory/mounts.ts',
    'which paths may be touched without hanging is judged in one place',
  ],
  [
    /^agent\/sources\/drive(-\w+)*\.ts$/,
    'agent/sources/directory/errno.ts',
    'and so are the codes of what goes wrong there',
  ],
];
const isExcepted = ({ from, to }: Import): boolean =>
  EXCEPTIONS.some(([pattern, target]) => pattern.test(from) && target === to);

function forbids(breaks: (arrow: Import) => boolean): void {
  const broken = imports.filter((arrow) => breaks(arrow) && !isExcepted(arrow));
  assert.deepEqual(
    broken.map(({ from, to }) => `${from} imports ${to}`),
    [],
  );
}
const isIn = (...rooms: readonly string[]) => {
  const prefixes = rooms.map((room) => `agent/${room}/`);
  return (file: string): boolean => prefixes.some((prefix) => file.startsWith(prefix));
};

describe('the reader of imports', () => {
  test('finds every form, over lines, with and without types', () => {
    const source = [
      "import fs from 'node:fs';",
      'import {\n  a,\n  type B,\n} from "./b.ts";',
      "import type { C } from './c.ts';",
      "export { d } from './d.ts';",
      "import './e.ts';",
      "const { f } = await import('./f.ts');",
      "type G = import('./g.ts').G;",
    ].join('\n');
    assert.deepEqual([...importsOf(source)].sort(), [
      './b.ts',
      './c.ts',
      './d.ts',
      './e.ts',
      './f.ts',
      './g.ts',
      'node:fs',
    ]);
  });
  test('takes no text for an import', () => {
    assert.deepEqual(importsOf(" * import it from 'somewhere'\nconst text = `read from 'x'`;\n// from 'y'\n"), []);
  });
  test('sees the whole program, and every import of ours leads to a file', () => {
    assert.ok(imports.length > 100);
    const missing = imports.filter(({ to }) => to.startsWith('agent/') && !textOf.has(to));
    assert.deepEqual(missing, []);
  });
  test('nothing is imported under a computed name, which no reader could follow', () => {
    const computed = [...textOf].filter(([, text]) =>
      /(?<![\w.])import\((?!\s*['"])/.test(text.replace(/^\s*(\*|\/\/).*$/gm, '')),
    );
    assert.deepEqual(
      computed.map(([file]) => file),
      [],
    );
  });
});

describe('arrows', () => {
  test('lifetime/ is pure: it imports nothing outside itself, no module of Node either', () => {
    forbids(({ from, to }) => isIn('lifetime')(from) && !isIn('lifetime')(to));
  });
  test('lifetime/ asks no clock, no chance and no process, which need no import', () => {
    const impure =
      /\bDate\.now\b|\bnew Date\(\)|\bMath\.random\b|\bprocess\.|\bperformance\.|\bset(Timeout|Interval|Immediate)\b|\bconsole\./;
    const guilty = [...textOf].filter(([file, text]) => isIn('lifetime')(file) && impure.test(text));
    assert.deepEqual(
      guilty.map(([file]) => file),
      [],
    );
  });

  const SEAMS = [
    'agent/lifetime/types.ts',
    'agent/lifetime/features.ts',
    'agent/duration.ts',
    'agent/clock.ts',
    // How the agent knows itself: by its id on every answer, and by name.
    'agent/instance.ts',
    'agent/own-endpoint.ts',
    // The wait with an end, that every retry and poll takes.
    'agent/pause.ts',
    // The one door through which children are started, the reader of a share among them.
    'agent/spawn-clean.ts',
    'agent/version.ts',
  ];
  test('sources/ imports itself, the seams and packages, and nothing else of the program', () => {
    forbids(
      ({ from, to }) => isIn('sources')(from) && to.startsWith('agent/') && !isIn('sources')(to) && !SEAMS.includes(to),
    );
  });
  test('a source’s own files never import another source’s', () => {
    const list = importsOf(textOf.get('agent/sources/index.ts') ?? '');
    const names = list.map((name) => path.basename(name, '.ts')).filter((name) => name !== 'source');
    assert.ok(names.includes('directory') && names.includes('mjf'));
    /** `mjf` for mjf.ts, mjf-round.ts and mjf/…; undefined for what they share. */
    const ownerOf = (file: string): string | undefined => {
      const [, below = ''] = /^agent\/sources\/(.+)\.ts$/.exec(file) ?? [];
      return names.find((name) => below === name || below.startsWith(`${name}-`) || below.startsWith(`${name}/`));
    };
    forbids(({ from, to }) => {
      const owner = ownerOf(to);
      return (
        isIn('sources')(from) && owner !== undefined && owner !== ownerOf(from) && from !== 'agent/sources/index.ts'
      );
    });
  });
  test('publish/, payloads/ and report/ never import a source, nor each other', () => {
    const consumers = ['publish', 'payloads', 'report'];
    for (const own of consumers) {
      const others = isIn('sources', ...consumers.filter((room) => room !== own));
      forbids(({ from, to }) => isIn(own)(from) && others(to));
    }
  });
  test('publish/files never imports publish/http: the files are out before fastify is loaded', () => {
    const startup = (file: string): boolean => isIn('publish')(file) && !isIn('publish/http')(file);
    forbids(({ from, to }) => startup(from) && isIn('publish/http')(to));
  });
  test('the status page runs in a browser: it imports itself and two pure files, and nobody imports it', () => {
    const page = isIn('publish/page');
    const shared = ['agent/duration.ts', 'agent/escape.ts'];
    forbids(({ from, to }) => page(from) && !page(to) && !shared.includes(to));
    forbids(({ from, to }) => page(to) && !page(from));
    assert.ok(imports.some(({ from }) => page(from)));
  });
  test('fastify stays in publish/http, and agent.ts loads that only when it is needed', () => {
    forbids(({ from, to }) => /^@?fastify\b/.test(to) && !isIn('publish/http')(from));
    const eager = /^import (?!type\b)[^;]*from '\.\/publish\/http\//m;
    assert.doesNotMatch(textOf.get('agent/agent.ts') ?? '', eager);
  });
  test('only agent.ts and commands/ wire: nobody else imports two rooms, nor agent.ts', () => {
    const rooms = ['sources', 'publish', 'payloads', 'report'];
    // exec/ is the room of one command: the daemon's wiring for a single payload (S3.8).
    const wires = (file: string): boolean => file === 'agent/agent.ts' || isIn('commands', 'exec')(file);
    const wiring = files.filter((file) => {
      const arrows = imports.filter((arrow) => arrow.from === file && !isExcepted(arrow));
      const seen = rooms.filter((room) => arrows.some(({ to }) => isIn(room)(to) && !isIn(room)(file)));
      return seen.length > (rooms.some((room) => isIn(room)(file)) ? 0 : 1) && !wires(file);
    });
    assert.deepEqual(wiring, []);
    forbids(({ from, to }) => to === 'agent/agent.ts' && !isIn('commands')(from) && from !== 'agent/main.ts');
  });
  test('no exception outlives its reason', () => {
    const idle = EXCEPTIONS.filter(([from, to]) => !imports.some((arrow) => from.test(arrow.from) && arrow.to === to));
    assert.deepEqual(idle, []);
  });
});
