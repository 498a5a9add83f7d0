/** The project's documents, as tests read them: which there are, the blocks of code in them, their headings and links. */
import fs from 'node:fs';
import path from 'node:path';

export const ROOT = path.resolve(import.meta.dirname ?? __dirname, '../..');

export interface Block {
  /** The word behind the fence; empty where there is none. */
  readonly language: string;
  readonly lines: readonly string[];
  /** Number of its first line within the document, from 1. */
  readonly line: number;
  /** The last path in `…` in the two lines above: where a program belongs. */
  readonly named: string | undefined;
  /** For what shows output: the block whose output it is, which ends not more than a paragraph above. */
  readonly outputOf: Block | undefined;
}

export interface Document {
  /** Below the project. */
  readonly file: string;
  readonly blocks: readonly Block[];
  /** What `#…` may name in it, as GitHub makes it from the headings. */
  readonly anchors: ReadonlySet<string>;
  readonly links: readonly { readonly target: string; readonly line: number }[];
}

/** Languages of what a program prints. */
const OUTPUTS: ReadonlySet<string> = new Set(['', 'text']);
const SHELLS: ReadonlySet<string> = new Set(['sh', 'bash']);
/** Between a command and what it prints: a blank, a paragraph, a blank. */
const NEAR_LINES = 4;
const SKIPPED: ReadonlySet<string> = new Set(['node_modules', 'dist', 'tmp']);

/** Every Markdown file for readers of the project; a new one is found by itself. */
export function allDocuments(): readonly Document[] {
  const top = fs.readdirSync(ROOT).filter((name) => name.endsWith('.md'));
  const below = ['packaging', 'rpm'].flatMap((directory) => markdownBelow(directory));
  return [...top, ...below].sort().map((file) => readDocument(file));
}

export function readDocument(file: string, text = fs.readFileSync(path.join(ROOT, file), 'utf8')): Document {
  const blocks: Block[] = [];
  const anchors = new Set<string>();
  const links: { target: string; line: number }[] = [];
  let open: (Omit<Block, 'outputOf' | 'lines'> & { fence: string; indent: string; lines: string[] }) | undefined;
  const all = text.split('\n');
  for (const [index, raw] of all.entries()) {
    const fence = /^(\s*)(```+|~~~+)\s*(\S*)/.exec(raw);
    if (open !== undefined) {
      if (fence?.[2]?.startsWith(open.fence) === true && fence[3] === '') {
        blocks.push(blockOf(open, blocks.at(-1)));
        open = undefined;
      } else open.lines.push(raw.startsWith(open.indent) ? raw.slice(open.indent.length) : raw.trimStart());
      continue;
    }
    if (fence !== null) {
      const [, indent = '', mark = '', language = ''] = fence;
      open = { fence: mark, indent, language, line: index + 2, lines: [], named: pathIn(all.slice(index - 2, index)) };
      continue;
    }
    const heading = /^#{1,6}\s+(.*?)\s*#*$/.exec(raw);
    if (heading !== null) addAnchor(anchors, heading[1] ?? '');
    for (const [, id = ''] of raw.matchAll(/<a (?:id|name)="([^"]+)"/g)) anchors.add(id);
    // What stands in `…` is no link.
    const plain = raw.replace(/`[^`]*`/g, (code) => ' '.repeat(code.length));
    for (const [, target = ''] of plain.matchAll(/\]\(\s*<?([^)\s>]+)/g)) links.push({ target, line: index + 1 });
    for (const [, target = ''] of plain.matchAll(/(?:src|srcset|href)="([^"]+)"/g))
      links.push({ target, line: index + 1 });
  }
  if (open !== undefined) throw new Error(`${file}:${open.line - 1}: this fence is never closed`);
  return { file, blocks, anchors, links };
}

function blockOf({ language, line, lines, named }: Omit<Block, 'outputOf'>, before: Block | undefined): Block {
  const distance = before === undefined ? Number.POSITIVE_INFINITY : line - 1 - (before.line + before.lines.length) - 1;
  const follows = before !== undefined && SHELLS.has(before.language) && distance <= NEAR_LINES;
  return { language, lines, line, named, outputOf: OUTPUTS.has(language) && follows ? before : undefined };
}

const pathIn = (lines: readonly string[]): string | undefined =>
  [...lines.join('\n').matchAll(/`(\/(?:etc|opt|usr|srv)\/[^`\s]+)`/g)].at(-1)?.[1];

/** As github.com does it: lower case, punctuation away, blanks to hyphens; the second of the same name gets -1. */
function addAnchor(anchors: Set<string>, heading: string): void {
  const words = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase();
  const slug = words.replace(/[^\p{L}\p{N}\p{M}_\- ]/gu, '').replaceAll(' ', '-');
  let name = slug;
  for (let count = 1; anchors.has(name); count += 1) name = `${slug}-${count}`;
  anchors.add(name);
}

function markdownBelow(directory: string): readonly string[] {
  return fs.readdirSync(path.join(ROOT, directory), { withFileTypes: true }).flatMap((entry) => {
    const name = path.join(directory, entry.name);
    if (entry.isDirectory()) return SKIPPED.has(entry.name) ? [] : markdownBelow(name);
    return entry.name.endsWith('.md') ? [name] : [];
  });
}

/** The manual pages but those of section 7, which are made of documents; what stands in them line for line are their blocks. */
export function allManuals(): readonly Document[] {
  const names = fs.readdirSync(path.join(ROOT, 'packaging/man')).filter((name) => /\.[1-6]$/.test(name));
  return names.map((name) => readManual(path.join('packaging/man', name)));
}

export function readManual(file: string): Document {
  const blocks: Block[] = [];
  let open: { line: number; lines: string[] } | undefined;
  // roff goes on in the next line behind a backslash.
  const text = fs.readFileSync(path.join(ROOT, file), 'utf8').replaceAll('\\\n', '');
  for (const [index, raw] of text.split('\n').entries()) {
    if (raw === '.nf') open = { line: index + 2, lines: [] };
    else if (raw === '.fi' && open !== undefined) {
      const [first = ''] = open.lines;
      const language = /^\{/.test(first) ? 'json' : /^\[|^\w+ = /.test(first) ? 'toml' : 'bash';
      blocks.push({ language, ...open, named: undefined, outputOf: undefined });
      open = undefined;
    } else open?.lines.push(plainRoff(raw));
  }
  return { file, blocks, anchors: new Set(), links: [] };
}

const ROFF: Readonly<Record<string, string>> = { e: '\\', '(ti': '~', '(ha': '^', '(ga': '`', '(aq': "'", '(dq': '"' };

const plainRoff = (line: string): string =>
  line
    .replace(/^\\&/, '')
    .replace(/\\(e|\([a-z]{2}|\[u([0-9A-F]{4,6})\]|f[A-Z]|-)/g, (_, name: string, code?: string) =>
      code !== undefined ? String.fromCodePoint(Number.parseInt(code, 16)) : (ROFF[name] ?? (name === '-' ? '-' : '')),
    );
