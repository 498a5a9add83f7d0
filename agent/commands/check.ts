/** `mjf-agent check`: says what is wrong with the configuration without starting anything. */
import path from 'node:path';
import { DEFAULT_ETC_DIR, describeProblem, loadConfig } from '../config.ts';
import { escapeLine } from '../escape.ts';
import { EXIT } from '../exit-codes.ts';
import { defineCommand } from './command.ts';

export const command = defineCommand({
  name: 'check',
  summary: 'validate the configuration',
  usage: 'check [FILE]',
  options: {},
  positionals: { least: 0, most: 1 },
  details: `Without FILE, what the daemon would read: ${DEFAULT_ETC_DIR}/config.toml and conf.d/*.toml. With FILE, that file alone.
MJF_AGENT_* variables count in both cases. Exit code 78 when something is wrong; warnings alone are no error.`,
  async run(context) {
    const [file] = context.positionals;
    const result = await loadConfig({
      ...(file === undefined ? {} : { file: path.resolve(file) }),
      env: context.env,
      flags: {},
    });
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
