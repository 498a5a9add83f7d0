/** Documents that people write, with parts that are made: `<!-- made: NAME -->` … `<!-- end: NAME -->`. */

/** The text with every made part in its place. Throws for a part that is not there, or there is nothing for. */
export function filled(text: string, parts: Readonly<Record<string, string>>): string {
  const found = [...text.matchAll(/<!-- made: (\S+)[^>]* -->/g)].map(([, name = '']) => name).sort();
  const given = Object.keys(parts).sort();
  if (JSON.stringify(found) !== JSON.stringify(given))
    throw new Error(`parts in the document: ${found.join(' ')}; parts that are made: ${given.join(' ')}`);
  return Object.entries(parts).reduce((before, [name, part]) => {
    const place = new RegExp(`(<!-- made: ${name}\\b[^>]* -->\\n)[\\s\\S]*?(<!-- end: ${name} -->)`);
    if (!place.test(before)) throw new Error(`the made part ${name} has no end`);
    return before.replace(place, (_, begin: string, end: string) => `${begin}\n${part.trimEnd()}\n\n${end}`);
  }, text);
}

/** A table of Markdown; cells may hold anything but line feeds. */
export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`;
  return `${[line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')}\n`;
}
