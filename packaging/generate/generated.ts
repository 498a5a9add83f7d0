/** Every file below packaging/ that is made from the program's own tables, with its text. */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from '../../agent/commands/command.ts';
import { commandTable } from '../../agent/commands/table.ts';
import { exampleConfig } from '../../agent/config/example.ts';
import { configSchema } from '../../agent/config.ts';
import { filled } from './blocks.ts';
import { bashCompletion, fishCompletion, zshCompletion } from './completions.ts';
import { configurationKeys } from './doc-configuration.ts';
import { hookVariables } from './doc-hooks.ts';
import { httpDocument } from './http-document.ts';
import { interfaceDocument } from './interface.ts';
import { manCommand } from './man-command.ts';
import { manConfig } from './man-config.ts';
import { manDocument } from './man-document.ts';
import { manHttp } from './man-http.ts';
import { blocksOf } from './markdown.ts';
import { metricsDoc } from './metrics-doc.ts';
import { sourceTables } from './source-facts.ts';
import { wordsOf } from './words.ts';

/** In the heads of the manual pages; a fixed day, since the same sources give the same files. */
const MANUAL_DATE = '2026-11-23';
const PACKAGING = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

/** A file of the program as a block of code. */
const sourceFile = (name: string): string =>
  `\`\`\`ts\n${fs.readFileSync(path.resolve(PACKAGING, '..', name), 'utf8')}\`\`\``;

/** By name below packaging/. Of documents that people write, only the made parts are another than they stand there. */
export async function generatedFiles(): Promise<Readonly<Record<string, string>>> {
  const commands: readonly Command[] = await Promise.all(commandTable.map(async ({ load }) => (await load()).command));
  const words = commands.map(wordsOf);
  const api = await interfaceDocument();
  const document = (name: string, parts: Readonly<Record<string, string>>): string =>
    filled(fs.readFileSync(path.join(PACKAGING, 'docs', name), 'utf8'), parts);
  const configuration = document('configuration.md', { keys: configurationKeys(configSchema()) });
  const sources = document('sources.md', sourceTables());
  const hooks = document('hooks.md', { variables: hookVariables() });
  const writing = document('writing-a-source.md', { oracle: sourceFile('agent/sources/oracle.ts') });
  const examples = blocksOf(configuration, 'Worked examples', 'toml').map(({ title, lines }) => ({
    title,
    toml: lines,
  }));
  return {
    'config.toml': exampleConfig(),
    'man/mjf-agent.1': manCommand(commands, MANUAL_DATE),
    'man/mjf-agent.toml.5': manConfig(configSchema(), examples, MANUAL_DATE),
    'man/mjf-agent-sources.7': manDocument(
      { name: 'mjf-agent-sources', summary: 'where mjf-agent learns how long the machine lives', text: sources },
      MANUAL_DATE,
    ),
    'man/mjf-agent-hooks.7': manDocument(
      { name: 'mjf-agent-hooks', summary: 'programs and web hooks that mjf-agent runs', text: hooks },
      MANUAL_DATE,
    ),
    'docs/configuration.md': configuration,
    'docs/sources.md': sources,
    'docs/hooks.md': hooks,
    'docs/writing-a-source.md': writing,
    'docs/metrics.md': metricsDoc(),
    'man/mjf-agent-http.7': manHttp(api, MANUAL_DATE),
    'docs/openapi.json': `${JSON.stringify(api, null, 2)}\n`,
    'docs/http.md': httpDocument(fs.readFileSync(path.join(PACKAGING, 'docs/http.md'), 'utf8'), api),
    'completions/mjf-agent.bash': bashCompletion(words),
    'completions/_mjf-agent': zshCompletion(words),
    'completions/mjf-agent.fish': fishCompletion(words),
  };
}
