/** `mjf-agent status`: the whole truth on one screen. */

import { request } from '../client.ts';
import { escapeLines } from '../escape.ts';
import { EXIT } from '../exit-codes.ts';
import { lookOf } from '../terminal/look.ts';
import { defineCommand, RUNTIME_DIR_OPTION, runtimeDirOf } from './command.ts';
import { LIFETIME_JSON } from './json-help.ts';
import { parseLifetime } from './lifetime-document.ts';
import { ANSWER_TIMEOUT_MS, refusal } from './outcome.ts';
import { ownPayloads } from './own-payloads.ts';
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
  details: `What matters first stands first: the phase, the time that is left with a bar up to the deadline ("d" where draining
begins, "s" where stopping does), the reason, and what happens next. Then notices, payloads (your own with their state, all of
them for root; else how many there are), features with their source and for how long they stand, sources, and the answer to
the site.

A terminal gets colours (not with NO_COLOR or TERM=dumb; in a pipe too with FORCE_COLOR=1), long values shortened, and of very
long lists the beginning; a pipe gets everything.`,
  json: { is: 'with --json, one document', fields: LIFETIME_JSON },
  async run(context) {
    const runtimeDir = runtimeDirOf(context);
    const answer = await request({
      channel: 'agent',
      runtimeDir,
      method: 'GET',
      path: '/v1/lifetime',
      timeoutMs: ANSWER_TIMEOUT_MS,
    });
    const lifetime = 'unreachable' in answer || answer.status !== 200 ? undefined : parseLifetime(answer.body);
    if ('unreachable' in answer || lifetime === undefined) return refusal(answer, runtimeDir, context);
    if (context.values.json) {
      context.out(escapeLines(answer.body.toString()));
      return EXIT.ok;
    }
    const hasPayloads = Object.values(lifetime.payloads).some((count) => count > 0);
    const payloads = hasPayloads ? await ownPayloads(runtimeDir) : [];
    context.out(statusScreen(lifetime, payloads, Date.now(), lookOf(process.stdout, context.env)));
    return EXIT.ok;
  },
});
