/** `mjf-agent get KEY`: one value for a script. */

import { request } from '../client.ts';
import { escapeLines } from '../escape.ts';
import { EXIT } from '../exit-codes.ts';
import { defineCommand, RUNTIME_DIR_OPTION, runtimeDirOf, UsageError } from './command.ts';
import { ANSWER_TIMEOUT_MS, explain } from './outcome.ts';

export const command = defineCommand({
  name: 'get',
  summary: 'print the value of one key',
  usage: 'get KEY',
  options: RUNTIME_DIR_OPTION,
  positionals: { least: 1, most: 1 },
  details: `KEY is looked up in the machine features, then in the job features, then in the machine's answer to its site;
machinefeatures/KEY, jobfeatures/KEY or jobstatus/KEY names one of them. Exit code 1 when the key is not known.`,
  async run(context) {
    const runtimeDir = runtimeDirOf(context);
    const [word = ''] = context.positionals;
    for (const path of pathsOf(word)) {
      const answer = await request({
        channel: 'agent',
        runtimeDir,
        method: 'GET',
        path,
        timeoutMs: ANSWER_TIMEOUT_MS,
      });
      if ('unreachable' in answer) return explain(answer, context);
      if (answer.status === 200) {
        context.out(`${escapeLines(answer.body.toString().trimEnd())}\n`);
        return EXIT.ok;
      }
      if (answer.status !== 404) return explain(answer, context);
    }
    context.complain(`${word} is not known`);
    return EXIT.failure;
  },
});

const DIRECTORIES = ['machinefeatures', 'jobfeatures', 'jobstatus'];

function pathsOf(word: string): readonly string[] {
  const match = /^(?:(machinefeatures|jobfeatures|jobstatus)\/)?([a-z0-9_]{1,128})$/.exec(word);
  const [, side, key] = match ?? [];
  if (key === undefined) throw new UsageError(`"${word}" is no key: keys are made of a-z, 0-9 and _`);
  return (side === undefined ? DIRECTORIES : [side]).map((directory) => `/${directory}/${key}`);
}
