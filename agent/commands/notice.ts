/** `mjf-agent notice`: the operator's own word, over admin.sock (SEMANTICS S6.1). */

import { type DaemonAnswer, type DaemonRequest, request } from '../client.ts';
import { formatDuration } from '../duration.ts';
import { escapeLine } from '../escape.ts';
import { EXIT } from '../exit-codes.ts';
import { defineCommand, RUNTIME_DIR_OPTION, runtimeDirOf } from './command.ts';
import { type NoticeWish, wishOf } from './notice-wish.ts';
import { ANSWER_TIMEOUT_MS, explain } from './outcome.ts';
import { instantText } from './times.ts';

const options = {
  in: { type: 'string', value: 'D', description: 'the deadline is so long from now: 90s, 30m, 2h' },
  at: {
    type: 'string',
    value: 'T',
    description: 'the deadline: UNIX seconds, or ISO 8601 such as 2025-12-22T21:46:40Z',
  },
  kind: { type: 'string', value: 'KIND', description: 'shutdown (default) or drain, which needs no time' },
  reason: { type: 'string', value: 'R', description: 'shown to everyone' },
  cancel: { type: 'boolean', description: 'take back the notice ID, or all notices of the operator' },
  ignore: { type: 'string', value: 'ID', description: "override a host's notice: it sets no deadline any more" },
  ...RUNTIME_DIR_OPTION,
} as const;

export const command = defineCommand({
  name: 'notice',
  summary: 'announce, cancel or override an interruption (operator)',
  usage: 'notice (--in D | --at T) [--kind KIND] [--reason R] | --kind drain | --cancel [ID] | --ignore ID',
  options,
  positionals: { least: 0, most: 1 },
  details: 'For root and the members of admin_group. "mjf-agent status" shows the ids of all notices.',
  async run(context) {
    const runtimeDir = runtimeDirOf(context);
    const wish = wishOf(context.values, context.positionals, Date.now());
    const answer = await send(runtimeDir, wish);
    if ('unreachable' in answer && (answer.code === 'EACCES' || answer.code === 'EPERM')) {
      context.complain('only root and the members of admin_group may announce, cancel or ignore');
      return EXIT.notPermitted;
    }
    if ('unreachable' in answer) return explain(answer, context);
    if (answer.status === 404) {
      context.complain(
        `there is no notice ${wish.does === 'announce' ? '' : (wish.id ?? '')} (see "mjf-agent status")`,
      );
      return EXIT.failure;
    }
    if (answer.status < 200 || answer.status > 299) return explain(answer, context);
    context.out(`${escapeLine(confirmation(wish, answer))}\n`);
    return EXIT.ok;
  },
});

function send(runtimeDir: string, wish: NoticeWish): Promise<DaemonAnswer> {
  const ask = (method: DaemonRequest['method'], path: string, body?: unknown) =>
    request({ channel: 'admin', runtimeDir, method, path, body, timeoutMs: ANSWER_TIMEOUT_MS });
  switch (wish.does) {
    case 'announce':
      return ask('POST', '/v1/notices', wish.body);
    case 'cancel':
      return ask('DELETE', wish.id === undefined ? '/v1/notices' : `/v1/notices/${encodeId(wish.id)}`);
    case 'ignore':
      return ask('POST', '/v1/notices/ignore', { id: wish.id });
  }
}

/** Ids contain slashes (`operator/3`), which stay. */
function encodeId(id: string): string {
  return id.split('/').map(encodeURIComponent).join('/');
}

function confirmation(wish: NoticeWish, answer: Extract<DaemonAnswer, { status: number }>): string {
  if (wish.does === 'cancel')
    return wish.id === undefined ? 'all notices of the operator taken back' : `${wish.id} taken back`;
  if (wish.does === 'ignore') return `${wish.id} ignored`;
  const { kind, at, in_secs: inSecs } = wish.body;
  const time =
    at !== undefined ? ` at ${instantText(at)}` : inSecs !== undefined ? ` in ${formatDuration(inSecs * 1000)}` : '';
  return `${idOf(answer.body)}: ${kind}${time}`;
}

function idOf(body: Buffer): string {
  try {
    const value: unknown = JSON.parse(body.toString());
    if (typeof value === 'object' && value !== null && 'id' in value) return String(value.id);
  } catch {
    // Said yes without an id: the notice stands all the same.
  }
  return 'announced';
}
