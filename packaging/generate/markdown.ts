/**
 * The little of Markdown that the documents of the manual are written in, as man(7): headings, paragraphs, lists, tables, code.
 * A table becomes a list: its first column the term, the others what is said of it.
 */
import { escaped, fill, item, literal } from './roff.ts';

/** The body of a page, from the first second-level heading's section on; what comes before stands under DESCRIPTION. */
export function roffOf(markdown: string): readonly string[] {
  const lines = markdown.replace(/<!--[\s\S]*?-->\n?/g, '').split('\n');
  const made: string[] = ['.SH DESCRIPTION'];
  let at = lines.findIndex((line) => line.startsWith('# ')) + 1;
  const isStart = (): boolean => /^\.S[HS] /.test(made.at(-1) ?? '');
  const paragraph = (): void => {
    if (!isStart()) made.push('.PP');
  };
  while (at < lines.length) {
    const line = lines[at] ?? '';
    if (line.trim() === '') at += 1;
    else if (line.startsWith('```')) {
      const end = lines.indexOf('```', at + 1);
      if (end < 0) throw new Error(`a block of code has no end: ${line}`);
      made.push(...literal(lines.slice(at + 1, end)));
      at = end + 1;
    } else if (line.startsWith('#')) {
      const [, marks = '', title = ''] = /^(#+) (.*)$/.exec(line) ?? [];
      made.push(marks.length === 2 ? `.SH ${styled(title.toUpperCase())}` : `.SS ${styled(title)}`);
      at += 1;
    } else if (line.startsWith('|')) {
      const end = lines.findIndex((each, index) => index > at && !each.startsWith('|'));
      made.push(...tableOf(lines.slice(at, end < 0 ? lines.length : end)));
      at = end < 0 ? lines.length : end;
    } else if (/^(- |\d+\. )/.test(line)) {
      const [, mark = '', text = ''] = /^(- |\d+\. )(.*)$/.exec(line) ?? [];
      made.push(mark === '- ' ? '.IP \\(bu 2' : `.IP ${mark.trim()} 4`, ...filledText(text));
      at += 1;
    } else {
      paragraph();
      made.push(...filledText(line));
      at += 1;
    }
  }
  return made;
}

/** `### title` and the first block of `language` below it, for each that stands in the section. */
export function blocksOf(markdown: string, section: string, language: string) {
  const [, rest = ''] = markdown.split(`\n## ${section}\n`);
  const [body = ''] = rest.split('\n## ');
  return [...body.matchAll(new RegExp(`(?:^|\\n)### (.*)\\n[^]*?\\n\`\`\`${language}\\n([^]*?)\\n\`\`\``, 'g'))].map(
    ([, title = '', text = '']) => ({ title, lines: text.split('\n') }),
  );
}

function tableOf(lines: readonly string[]): readonly string[] {
  const [head = [], , ...rows] = lines.map(cellsOf);
  return rows.flatMap(([term = '', ...cells]) => {
    const words = cells
      .map((cell, index) => [head[index + 1] ?? '', cell] as const)
      .filter(([, cell]) => cell !== '' && cell !== '–');
    const said = cells.length < 2 ? words.map(([, cell]) => cell) : words.map(([name, cell]) => `${name}: ${cell}`);
    return item(
      plain(term),
      said.flatMap((text, index) => [...(index === 0 ? [] : ['.br']), ...filledText(text)]),
    );
  });
}

const cellsOf = (line: string): readonly string[] =>
  line
    .slice(1, line.lastIndexOf('|'))
    .split(/(?<!\\)\|/)
    .map((cell) => cell.replaceAll('\\|', '|').replaceAll('<br>', ', ').trim());

/** Without marks: where no other letters are to be had. */
const plain = (text: string): string => linked(text).replace(/[`*]/g, '');

/** Of what stands on the net the address, of what lies beside only its name. */
const linked = (text: string): string =>
  text.replace(/\[([^\]]*)\]\((\S+?)\)/g, (_, words: string, to: string) =>
    /^https?:/.test(to) ? `${words} (${to})` : words,
  );

/** Code and what is emphasised in bold letters. */
function styled(text: string): string {
  return linked(text)
    .split(/(`[^`]+`|\*\*[^*]+\*\*)/)
    .map((piece, index) => {
      const inner = piece.replace(/^(`|\*\*)([\s\S]*)\1$/, '$2');
      return index % 2 === 0 ? escaped(piece) : `\\fB${escaped(inner)}\\fR`;
    })
    .join('');
}

const filledText = (text: string): readonly string[] => fill(styled(text));
