/**
 * Elements. Text gets into the page as text nodes and attributes here and nowhere else, so that no value of a host, no reason
 * of a notice and no name of a payload can become markup.
 */

export type Child = Node | string | null | undefined | false;
type Attributes = Readonly<Record<string, string | number | null>>;

/** Never of an attribute that runs or loads something; all names are written in this directory. */
export function h<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[Tag] {
  return filled(document.createElement(tag), attributes, children);
}

/** The page holds an empty one: so its namespace, which looks like an address, need not be written anywhere. */
const SVG = document.getElementById('namespace')?.namespaceURI ?? null;

export function svg(tag: string, attributes: Attributes = {}, ...children: readonly Child[]): Element {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled<E extends Element>(element: E, attributes: Attributes, children: readonly Child[]): E {
  for (const [name, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(name, String(value));
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function byId(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`the page has no #${id}`);
  return element;
}

const drawn = new Map<string, string>();

/** Makes the contents of `#id` anew only when what they are made of has changed: a reader's selection and place survive. */
export function draw(id: string, madeOf: string, make: () => readonly Child[]): void {
  if (drawn.get(id) === madeOf) return;
  drawn.set(id, madeOf);
  byId(id).replaceChildren(...make().filter((child) => child !== null && child !== undefined && child !== false));
}

/** One cell a column; the first is the row's head. `captionText` is what the table is about. */
export function table(
  captionText: string,
  columns: readonly string[],
  rows: readonly (readonly Child[])[],
): HTMLTableElement {
  // The roles are what these elements have anyway; the narrow layout would take them away in some browsers.
  return h(
    'table',
    { role: 'table' },
    h('caption', {}, captionText),
    h(
      'thead',
      { role: 'rowgroup' },
      h('tr', { role: 'row' }, ...columns.map((name) => h('th', { scope: 'col', role: 'columnheader' }, name))),
    ),
    h(
      'tbody',
      { role: 'rowgroup' },
      ...rows.map((cells) =>
        h(
          'tr',
          { role: 'row' },
          ...cells.map((cell, index) =>
            index === 0
              ? h('th', { scope: 'row', role: 'rowheader' }, cell)
              : h('td', { role: 'cell', 'data-name': columns[index] ?? '' }, cell),
          ),
        ),
      ),
    ),
  );
}

export const aside = (text: string): HTMLElement => h('span', { class: 'aside' }, text);
export const tag = (text: string, tone: 'bad' | 'good' | 'warn' | '' = ''): HTMLElement =>
  h('span', { class: `tag ${tone}` }, text);
/** Text of which nobody knows in what script it is. */
export const quoted = (text: string): HTMLElement => h('bdi', {}, text);
export const several = (...children: readonly Child[]): HTMLElement => h('div', {}, ...children);
