/** The tables of packaging/docs/http.md; what stands between them is written by hand. */
import type { Json } from '../../agent/publish/http/route-doc.ts';
import { boundRows, operationRows, problemRows, tagRows } from './http-rows.ts';

/** `text` as it stands, with each table between its two marks made anew. Throws where the marks of a table are missing. */
export function httpDocument(text: string, document: Json): string {
  const tables = { requests: requests(document), errors: errors(), bounds: bounds() };
  return Object.entries(tables).reduce((made, [name, lines]) => {
    const begin = `<!-- ${name}: made by "npm run generate" -->\n`;
    const end = `\n<!-- end of ${name} -->`;
    const from = made.indexOf(begin);
    const to = made.indexOf(end, from);
    if (from < 0 || to < 0) throw new Error(`http.md has no place for ${name}`);
    return `${made.slice(0, from)}${begin}\n${lines.join('\n')}\n${made.slice(to)}`;
  }, text);
}

function requests(document: Json): readonly string[] {
  const rows = operationRows(document);
  return tagRows(document).flatMap(([tag, description], index) => [
    ...(index === 0 ? [] : ['']),
    `**${tag}**: ${description}`,
    '',
    '| request | for whom | |',
    '| --- | --- | --- |',
    ...rows
      .filter((row) => row.tag === tag)
      .map(({ method, path, access, summary }) => `| \`${method} ${path}\` | ${access} | ${cell(summary)} |`),
  ]);
}

const errors = (): readonly string[] => [
  '| status | code | what happened | what to do |',
  '| --- | --- | --- | --- |',
  ...problemRows().map(
    ({ status, code, title, advice }) => `| ${status} | \`${code}\` | ${cell(title)} | ${cell(advice)} |`,
  ),
];

const bounds = (): readonly string[] => [
  '| what | bound | beyond it |',
  '| --- | --- | --- |',
  ...boundRows().map((row) => `| ${row.map(cell).join(' | ')} |`),
];

const cell = (text: string): string => text.replaceAll('|', '\\|');
