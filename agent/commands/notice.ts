/** `mjf-agent notice`: the operator's own word, over admin.sock (SEMANTICS S6.1). */

import { type DaemonAnswer, type DaemonRequest, request } from '../client.ts';
import { formatDuration } from '../duration.ts';
import { escapeLine } from '../escape.ts';
import { EXIT } from '../exit-codes.ts';
import { defineCommand, RUNTIME_DIR_OPTION, runtimeDirOf } from './command.ts';
import { fields, parseJson } from './json-fields.ts';
import { NOTICE_JSON } from './json-help.ts';
import { parseLifetime } from './lifetime-document.ts';
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
  cancel: {
    type: 'boolean',
    description: 'take back the notice ID, or the override of it; without ID all notices of the operator',
  },
  ignore: { type: 'string', value: 'ID', description: "override a host's notice: it sets no deadline any more" },
  json: { type: 'boolean', description: 'say what was done as JSON, see below' },
  ...RUNTIME_DIR_OPTION,
} as const;

export const command = defineCommand({
  name: 'notice',
  summary: 'announce, cancel or override an interruption (operator)',
  usage: 'notice [--json] (--in D | --at T) [--kind KIND] [--reason R] | --kind drain | --cancel [ID] | --ignore ID',
  options,
  positionals: { least: 0, most: 1 },
  details: `For root and the members of admin_group. "mjf-agent status" shows the ids of all notices; those of the operator are
operator/1, operator/2 …, and 1 is enough to cancel one. For example:
  sudo mjf-agent notice --in 30m --reason "rack maintenance"
  sudo mjf-agent notice --at 2030-12-22T21:46:40Z
  sudo mjf-agent notice --kind drain
  sudo mjf-agent notice --cancel

Exit code: 0 done, 1 no such notice or refused, 64 wrong words, 69 the daemon cannot be reached, 77 not permitted.`,
  json: { is: 'with --json, one document', fields: NOTICE_JSON },
  async run(context) {
    const runtimeDir = runtimeDirOf(context);
    const wish = wishOf(context.values, context.positionals, Date.now());
    const answer = await send(runtimeDir, wish);
    if ('unreachable' in answer && (answer.code === 'EACCES' || answer.code === 'EPERM')) {
      context.complain(
        `only root and the members of admin_group may announce, cancel or ignore (${runtimeDir}/admin.sock); try "sudo mjf-agent notice"`,
      );
      return EXIT.notPermitted;
    }
    if ('unreachable' in answer) return explain(answer, runtimeDir, context);
    if (answer.status === 404) {
      context.complain(await noSuchNotice(wish, runtimeDir));
      return EXIT.failure;
    }
    if (answer.status < 200 || answer.status > 299) return explain(answer, runtimeDir, context);
    const said = context.values.json ? JSON.stringify(documentOf(wish, answer)) : confirmation(wish, answer);
    context.out(`${escapeLine(said)}\n`);
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

/** As the operator's own notices are called; any other is a host's, whose override is taken back. */
const OWN_ID = /^(operator\/)?\d+$/;

function confirmation(wish: NoticeWish, answer: Extract<DaemonAnswer, { status: number }>): string {
  if (wish.does === 'cancel')
    return wish.id === undefined
      ? 'all notices of the operator taken back'
      : OWN_ID.test(wish.id)
        ? `${wish.id} taken back`
        : `${wish.id} counts again`;
  if (wish.does === 'ignore') return `${wish.id} ignored`;
  const { kind, at, in_secs: inSecs } = wish.body;
  const distance = inSecs === undefined ? '' : inSecs === 0 ? ' now' : ` in ${formatDuration(inSecs * 1000)}`;
  return `${idOf(answer.body) ?? 'announced'}: ${kind}${at === undefined ? distance : ` at ${instantText(at)}`}`;
}

function documentOf(wish: NoticeWish, answer: Extract<DaemonAnswer, { status: number }>) {
  if (wish.does === 'announce') return { did: 'announced', id: idOf(answer.body) };
  return { did: wish.does === 'cancel' ? 'cancelled' : 'ignored', id: wish.id ?? null };
}

/** null: said yes without an id; the notice stands all the same. */
function idOf(body: Buffer): string | null {
  const { id } = fields(parseJson(body));
  return typeof id === 'string' ? id : null;
}

/** Ids that are listed; with more, "status" is the better list. */
const MOST_IDS = 8;

/** With the ids that there are: an operator's to take back, any to ignore. */
async function noSuchNotice(wish: NoticeWish, runtimeDir: string): Promise<string> {
  const wanted = wish.does === 'announce' ? '' : (wish.id ?? '');
  const path = '/v1/lifetime';
  const answer = await request({ channel: 'admin', runtimeDir, method: 'GET', path, timeoutMs: ANSWER_TIMEOUT_MS });
  const all = 'unreachable' in answer ? [] : (parseLifetime(answer.body)?.notices ?? []);
  const ids = all.map(({ id }) => id).filter((id) => wish.does !== 'cancel' || id.startsWith('operator/'));
  const more = ids.length > MOST_IDS ? ` and ${ids.length - MOST_IDS} more ("mjf-agent status")` : '';
  const whose = wish.does === 'cancel' ? "of the operator's" : 'now';
  const isHosts = wish.does === 'cancel' && all.some(({ id }) => id === wanted);
  if (isHosts)
    return `${wanted} is not the operator's, so it cannot be taken back; "mjf-agent notice --ignore ${wanted}" overrides it`;
  return ids.length === 0
    ? `there is no notice ${wanted}; there is none ${whose}`
    : `there is no notice ${wanted}; there ${ids.length === 1 ? 'is' : 'are'} ${ids.slice(0, MOST_IDS).join(', ')}${more}`;
}
