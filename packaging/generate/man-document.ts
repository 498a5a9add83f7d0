/** A document of packaging/docs as a page of section 7: the same words, so that neither is staler than the other. */
import { roffOf } from './markdown.ts';
import { escaped, item, page, prose, section } from './roff.ts';

export interface ManDocument {
  readonly name: string;
  readonly summary: string;
  /** Markdown. */
  readonly text: string;
}

const PAGES = [
  ['mjf-agent', 1],
  ['mjf-agent.toml', 5],
  ['mjf-agent-hooks', 7],
  ['mjf-agent-sources', 7],
] as const;

export function manDocument({ name, summary, text }: ManDocument, date: string): string {
  const others = PAGES.filter(([other]) => other !== name);
  return page(escaped(name.toUpperCase()), 7, date, [
    ...section('NAME', [`${escaped(name)} \\- ${escaped(summary)}`]),
    ...roffOf(text),
    ...section(
      'FILES',
      item('/usr/share/doc/mjf-agent/', prose('This text as a document, and the others that it names.')),
    ),
    ...section(
      'SEE ALSO',
      others.map(
        ([other, volume], index) => `.BR ${escaped(other)} (${volume})${index < others.length - 1 ? ',' : ''}`,
      ),
    ),
  ]);
}
