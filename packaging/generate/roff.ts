/** The little of man(7) that the manual pages need. Input lines stay below 80 characters, as mandoc's linter wants. */

/** A longer input line is a complaint of `mandoc -T lint`. */
const LONGEST_LINE = 78;

/** Characters that roff would read as something else, or show as another one. */
const SPECIAL: Readonly<Record<string, string>> = {
  '\\': '\\e',
  '-': '\\-',
  '~': '\\(ti',
  '^': '\\(ha',
  '`': '\\(ga',
  "'": '\\(aq',
  '"': '\\(dq',
};

/** Text that is safe anywhere, also as an argument of a macro. */
export function escaped(text: string): string {
  return [...text].map((char) => SPECIAL[char] ?? (char > '~' ? `\\[u${codeOf(char)}]` : char)).join('');
}

const codeOf = (char: string): string => (char.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');

/** Running text: filled by roff, broken here at blanks only to keep the lines short. */
export const prose = (text: string): readonly string[] => fill(escaped(text));

/** Running text that is roff already. */
export function fill(text: string): readonly string[] {
  const lines: string[] = [];
  for (const word of text.split(/\s+/).filter((each) => each !== '')) {
    const last = lines.at(-1);
    if (last === undefined || last.length + 1 + word.length > LONGEST_LINE) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines.map(guarded);
}

/** As it stands, line for line. */
export function literal(lines: readonly string[]): readonly string[] {
  return ['.RS 4', '.nf', ...lines.flatMap((line) => continued(guarded(escaped(line)))), '.fi', '.RE'];
}

/** A line that is too long for the linter goes on in the next one. Escapes stay whole. */
function continued(line: string): readonly string[] {
  const parts = [''];
  for (const piece of line.match(/\\(?:\(..|\[\w+\]|.)|[^\\]/g) ?? []) {
    const last = parts.at(-1) ?? '';
    if (last.length + piece.length < LONGEST_LINE) parts[parts.length - 1] = last + piece;
    else parts.push(piece);
  }
  return parts.map((part, index) => (index === parts.length - 1 ? part : `${part}\\`));
}

/** A word and what it means. */
export function item(term: string, text: readonly string[]): readonly string[] {
  return ['.TP', ...continued(`.B ${guarded(escaped(term))}`), ...text];
}

export const section = (name: string, lines: readonly string[]): readonly string[] => [`.SH ${name}`, ...lines];

/** `.TH` and all the rest, line feed at the end. The comment keeps people from mending it in the wrong place. */
export function page(title: string, volume: number, date: string, lines: readonly string[]): string {
  const head = [`.\\" Made by "npm run generate" from the program's own tables: change those.`];
  return `${[...head, `.TH ${title} ${volume} ${date} mjf\\-agent`, ...lines].join('\n')}\n`;
}

/** A control character at the begin of a line would make it a request. */
const guarded = (line: string): string => (/^\./.test(line) ? `\\&${line}` : line);

/**
 * Text as `--help` shows it: paragraphs parted by empty lines; lines that begin with blanks are a list where two blanks part
 * a word from its meaning, else an example.
 */
export function helpProse(text: string): readonly string[] {
  return text.split('\n\n').flatMap((paragraph, index) => [...(index === 0 ? [] : ['.PP']), ...blocks(paragraph)]);
}

function blocks(paragraph: string): readonly string[] {
  const made: string[] = [];
  const lines = paragraph.split('\n');
  let at = 0;
  const take = (holds: (line: string) => boolean): readonly string[] => {
    const from = at;
    while (at < lines.length && holds(lines[at] ?? '')) at += 1;
    return lines.slice(from, at);
  };
  while (at < lines.length) {
    const text = take((line) => !line.startsWith(' '));
    if (text.length > 0) made.push(...(made.length === 0 ? [] : ['.PP']), ...prose(text.join(' ')));
    const indented = take((line) => line.startsWith(' '));
    if (indented.some((line) => DEFINITION.test(line))) made.push(...definitions(indented));
    else if (indented.length > 0) made.push(...literal(indented.map((line) => line.trim())));
  }
  return made;
}

/** Two blanks, a word or a list of words, two blanks or more, its meaning. */
const DEFINITION = /^ {2}(\S+(?: \S+)*) {2,}(\S.*)$/;

function definitions(lines: readonly string[]): readonly string[] {
  const rows: { readonly term: string; readonly text: string[] }[] = [];
  for (const line of lines) {
    const found = DEFINITION.exec(line);
    if (found !== null) rows.push({ term: found[1] ?? '', text: [found[2] ?? ''] });
    // Further to the right it goes on with what the line above says; else it is a word without a meaning.
    else if (/^ {3}/.test(line)) rows.at(-1)?.text.push(line.trim());
    else rows.push({ term: line.trim(), text: [] });
  }
  return ['.RS 4', ...rows.flatMap(({ term, text }) => item(term, prose(text.join(' ')))), '.RE'];
}
