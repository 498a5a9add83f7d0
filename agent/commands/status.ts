/** `mjf-agent status`: the whole truth on one screen. */

import { request } from '../client.ts';
import { escapeLines } from '../escape.ts';
import { EXIT } from '../exit-codes.ts';
import { defineCommand, RUNTIME_DIR_OPTION, runtimeDirOf } from './command.ts';
import { parseLifetime } from './lifetime-document.ts';
import { ANSWER_TIMEOUT_MS, explain } from './outcome.ts';
import { statusScreen } from './status-screen.ts';

export const command = defineCommand({
  name: 'status',
  summary: 'what is known of this machine, on one screen',
  usage: 'status [--json]',
  options: {
    json: { type: 'boolean', description: 'print the document of GET /v1/lifetime' },
    ...RUNTIME_DIR_OPTION,
  },
  positionals: { least: 0, most: 0 },
  async run(context) {
    const runtimeDir = runtimeDirOf(context);
    const answer = await request({
      channel: 'agent',
      runtimeDir,
      method: 'GET',
      path: '/v1/lifetime',
      timeoutMs: ANSWER_TIMEOUT_MS,
    });
    if ('unreachable' in answer || answer.status !== 200) return explain(answer, context);
    const lifetime = parseLifetime(answer.body);
    if (lifetime === undefined) {
      context.complain(`what answers in ${runtimeDir} is not mjf-agent`);
      return EXIT.unavailable;
    }
    context.out(context.values.json ? escapeLines(answer.body.toString()) : statusScreen(lifetime, Date.now()));
    return EXIT.ok;
  },
});
