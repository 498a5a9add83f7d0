/** `mjf-agent get KEY`: one value for a script. */

import { request } from '../client.ts';
import { escapeLines } from '../escape.ts';
import { EXIT } from '../exit-codes.ts';
import { nearestFew } from '../nearest.ts';
import { defineCommand, RUNTIME_DIR_OPTION, runtimeDirOf, UsageError } from './command.ts';
import { parseLifetime } from './lifetime-document.ts';
import { ANSWER_TIMEOUT_MS, explain } from './outcome.ts';

export const command = defineCommand({
  name: 'get',
  summary: 'print the value of one key',
  usage: 'get KEY',
  options: RUNTIME_DIR_OPTION,
  positionals: { least: 1, most: 1 },
  details: `KEY is looked up in the machine features, then in the job features, then in the machine's answer to its site;
machinefeatures/KEY, jobfeatures/KEY or jobstatus/KEY names one of them. Exit code 1 when the key is not known.

The value stands alone on its line. Where it comes from, and whether it is stale, is in "mjf-agent status --json".`,
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
      if ('unreachable' in answer) return explain(answer, runtimeDir, context);
      if (answer.status === 200) {
        context.out(`${escapeLines(answer.body.toString().trimEnd())}\n`);
        return EXIT.ok;
      }
      if (answer.status !== 404) return explain(answer, runtimeDir, context);
    }
    context.complain(await unknownText(word, runtimeDir));
    return EXIT.failure;
  },
});

const DIRECTORIES = ['machinefeatures', 'jobfeatures', 'jobstatus'];

/** Of the answer to the site: they are no features, and the document has them in a shape of its own. */
const STATUS_KEYS = ['can_terminate', 'can_terminate_at', 'must_not_terminate_until', 'progress'];
/** Names that are offered in place of one that is not known. */
const MOST_OFFERED = 3;

/** A key without a value now, or a misspelt one: only a person can tell, so the sentence helps with both. */
async function unknownText(word: string, runtimeDir: string): Promise<string> {
  const path = '/v1/lifetime';
  const answer = await request({ channel: 'agent', runtimeDir, method: 'GET', path, timeoutMs: ANSWER_TIMEOUT_MS });
  const lifetime = 'unreachable' in answer ? undefined : parseLifetime(answer.body);
  const known = [lifetime?.machinefeatures, lifetime?.jobfeatures].flatMap((side) => Object.keys(side ?? {}));
  const key = word.replace(/^.*\//, '');
  // Spelt right: what is missing is somebody to say it.
  if (STATUS_KEYS.includes(key) && /^(jobstatus\/|[^/]*$)/.test(word))
    return `${word} is not known now: no payload has said it ("mjf-agent status" shows the answer to the site)`;
  const names = nearestFew(key, [...new Set([...known, ...STATUS_KEYS])].sort(), MOST_OFFERED);
  const offered = names.length === 0 ? '' : `; did you mean ${names.map((name) => `"${name}"`).join(' or ')}?`;
  return `${word} is not known now: no source gives it${offered} ("mjf-agent status" shows every key that there is)`;
}

function pathsOf(word: string): readonly string[] {
  const match = /^(?:(machinefeatures|jobfeatures|jobstatus)\/)?([a-z0-9_]{1,128})$/.exec(word);
  const [, side, key] = match ?? [];
  if (key === undefined) throw new UsageError(`"${word}" is no key: keys are made of a-z, 0-9 and _`);
  return (side === undefined ? DIRECTORIES : [side]).map((directory) => `/${directory}/${key}`);
}
