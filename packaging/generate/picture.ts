/** A picture of a terminal: plain text in an SVG, dark or light as its reader has it. */

const COLUMN_PX = 8.4;
const LINE_PX = 20;
const MARGIN_PX = 20;
const BAR_PX = 34;

/** By who speaks, behind the seconds. */
const ACTORS: readonly string[] = ['agent', 'payload', 'site', 'host', 'exec'];

const STYLE = `
  text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; white-space: pre; fill: #24292f; }
  .back { fill: #f6f8fa; stroke: #d0d7de; }
  .dim { fill: #57606a; }
  .agent { fill: #0550ae; }
  .payload { fill: #116329; }
  .site, .host { fill: #953800; }
  .exec { fill: #6639ba; }
  .end { font-weight: 700; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .back { fill: #0d1117; stroke: #30363d; }
    .dim { fill: #9198a1; }
    .agent { fill: #79c0ff; }
    .payload { fill: #7ee787; }
    .site, .host { fill: #ffa657; }
    .exec { fill: #d2a8ff; }
  }
`;

/** `lines` as a program printed them below `command`; the last one is the end of the story. */
export function terminalPicture(command: string, lines: readonly string[], title: string): string {
  const rows = [`$ ${command}`, ...lines];
  const width = Math.ceil(Math.max(...rows.map((row) => row.length)) * COLUMN_PX + 2 * MARGIN_PX);
  const height = BAR_PX + rows.length * LINE_PX + MARGIN_PX;
  const texts = rows.map((row, index) => {
    const y = BAR_PX + (index + 1) * LINE_PX;
    return `<text x="${MARGIN_PX}" y="${y}" xml:space="preserve">${spans(row, index === 0, index === rows.length - 1)}</text>`;
  });
  const dots = [0, 1, 2].map((n) => `<circle class="dim" cx="${MARGIN_PX + 6 + n * 20}" cy="20" r="6" opacity="0.4"/>`);
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(title)}">
<title>${escaped(title)}</title>
<style>${STYLE}</style>
<rect class="back" x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="8"/>
${[...dots, ...texts].join('\n')}
</svg>
`;
}

function spans(row: string, isCommand: boolean, isLast: boolean): string {
  if (isCommand) return `<tspan class="dim">$</tspan>${escaped(row.slice(1))}`;
  const [, time = '', rest = ''] = /^(\s*[\d.]+ s {2})?(.*)$/.exec(row) ?? [];
  const actor = ACTORS.find((name) => rest.startsWith(`${name}:`));
  const said =
    actor === undefined
      ? `<tspan${isLast ? ' class="end"' : ''}>${escaped(rest)}</tspan>`
      : `<tspan class="${actor}">${actor}:</tspan>${escaped(rest.slice(actor.length + 1))}`;
  return `<tspan class="dim">${escaped(time)}</tspan>${said}`;
}

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
