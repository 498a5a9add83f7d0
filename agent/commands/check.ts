/** `mjf-agent check`: says what is wrong with the configuration without starting anything. */
import path from 'node:path';
import { DEFAULT_ETC_DIR, describeProblem, loadConfig } from '../config.ts';
import { escapeLine, escapeLines } from '../escape.ts';
import { EXIT } from '../exit-codes.ts';
import { defineCommand } from './command.ts';
import { CHECK_JSON } from './json-help.ts';

export const command = defineCommand({
  name: 'check',
  summary: 'validate the configuration',
  usage: 'check [--json] [FILE]',
  options: { json: { type: 'boolean', description: 'one JSON document, see below' } },
  positionals: { least: 0, most: 1 },
  details: `Without FILE, what the daemon would read: ${DEFAULT_ETC_DIR}/config.toml and conf.d/*.toml. With FILE, that file alone.
MJF_AGENT_* variables count in both cases. Exit code 78 when something is wrong; warnings alone are no error.`,
  json: { is: 'with --json, one document, and nothing on stderr', fields: CHECK_JSON },
  async run(context) {
    const [file] = context.positionals;
    const result = await loadConfig({
      ...(file === undefined ? {} : { file: path.resolve(file) }),
      env: context.env,
      flags: {},
    });
    if (context.values.json) {
      const { problems } = result.ok ? { problems: [] } : result;
      const { files, warnings } = result.ok ? result : { files: [], warnings: [] };
      const rows = problems.map(({ line = null, column = null, ...problem }) => ({ ...problem, line, column }));
      const report = { ok: result.ok, files, warnings, problems: rows };
      context.out(`${escapeLines(JSON.stringify(report, null, 2))}\n`);
      return result.ok ? EXIT.ok : EXIT.configuration;
    }
    if (!result.ok) {
      for (const problem of result.problems) context.complain(describeProblem(problem));
      return EXIT.configuration;
    }
    for (const read of result.files) context.out(`read ${escapeLine(read)}\n`);
    if (result.files.length === 0) context.out('no configuration file: defaults\n');
    for (const warning of result.warnings) context.out(`warning: ${escapeLine(warning)}\n`);
    context.out('ok\n');
    return EXIT.ok;
  },
});
