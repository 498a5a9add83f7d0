/**
 * The words that the program says to people who look for a fault: the events of its log and the codes of what is wrong with a
 * source. Read from its text, so that a document that names them cannot be stale. Where the text does not show the words
 * themselves (a template, a variable) a rule here says what they can be; what no rule knows is a fault of this file.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { PROBLEMS } from '../../agent/publish/http/problem-catalogue.ts';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

const texts: ReadonlyMap<string, string> = new Map(
  fs
    .readdirSync(path.join(ROOT, 'agent'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.d.ts'))
    .sort()
    .map((file) => [file, withoutComments(fs.readFileSync(path.join(ROOT, 'agent', file), 'utf8'))]),
);

function withoutComments(text: string): string {
  return text.replace(/^\s*\/\*\*?[\s\S]*?\*\//gm, '').replace(/^\s*\/\/.*$/gm, '');
}

const textOf = (file: string): string => {
  const text = texts.get(file);
  assert.ok(text !== undefined, `there is no agent/${file} any more: this rule wants another`);
  return text;
};

/** All that stands in quotes in what `pattern` finds in one file; at least one word. */
function quotedIn(file: string, pattern: RegExp): readonly string[] {
  const found = pattern.exec(textOf(file));
  assert.ok(found, `agent/${file} has no ${pattern} any more: this rule wants another`);
  return [...found[0].matchAll(/'([a-z_0-9]+)'/g)].map(([, word]) => word ?? '');
}

/** One call of the log; its first argument, as far as it matters, is only looked at: the next call may stand in it. */
const LOG_CALL =
  /\b(?:log|options\.log|rest\.log)(?:\.(?:trace|debug|info|warn|error|fatal)|\[[^\]]*\])\((?=\s*([\s\S]{0,120}))/g;
/** `{ event: 'ready'`, and `{ event: is ? 'this' : 'that'`. */
const LITERAL = /^\{\s*event:\s*(?:[^,'}]*\?\s*)?'([a-z_]+)'(?:\s*:\s*'([a-z_]+)')?/;
/** Where the log is handed a word that came from elsewhere; the words themselves are found by `INDIRECT` and `TEMPLATES`. */
const HANDED_ON: ReadonlyMap<string, string> = new Map([
  ['agent.ts', '{ event: effect.event,'],
  ['exec/supervise.ts', '{ event: effect.event,'],
  ['payloads/finder-told.ts', '{ event, ...fields }'],
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the text of the program, not its value
  ['payloads/hook-log.ts', '{ event: `hook_${name}`,'],
  ['payloads/unit-steps.ts', 'fields,'],
  ['report/joboutputs.ts', '{ event: MESSAGE_FILE,'],
  ['sources/ec2.ts', "{ event, source: 'ec2' }"],
  ['sources/directory/side.ts', '{ event }'],
]);
/** Functions that take the event's name as an argument. */
const INDIRECT: readonly RegExp[] = [
  // lifetime/log.ts, and what fills in its effect by hand.
  /\blog\(\s*(?:'(?:info|warn)'|[^()]*?\?\s*'(?:info|warn)'\s*:\s*'(?:info|warn)'),\s*'([a-z_]+)'/g,
  /\btype: 'log',\s*level: '[a-z]+',\s*event: '([a-z_]+)'/g,
  /\btellOnce\(\s*'([a-z_0-9]+)'/g,
  /\bonce\(\s*[^;]*?,\s*'(?:debug|warn)',\s*'([a-z_]+)'/g,
  /\btold\(\s*[^;]*?,\s*(?:[^,;]*\?\s*)?'([a-z_]+)'(?:\s*:\s*null)?,\s*'(?:debug|info|warn|error)'/g,
  /\btellAll\(\s*[^;]*?,\s*'([a-z_]+)'/g,
  /\bnone\(\s*'(pidfile_[a-z_]+)'/g,
  // unit-steps.ts puts its fields together first.
  /\bfields = \{ event: '([a-z_]+)'/g,
];
/** Names that are put together. */
const TEMPLATES: readonly (() => readonly string[])[] = [
  () => quotedIn('payloads/hook-log.ts', /readonly name: [^;]+;/).map((word) => `hook_${word}`),
  () =>
    quotedIn('payloads/pidfile.ts', /is: 'refused';\s*readonly code: [^;]+;/)
      .slice(1)
      .map((word) => `pidfile_${word}`),
  () =>
    [/is: 'not_found';\s*readonly code: [^;]+;/, /is: 'refused';\s*readonly code: [^;]+;/].flatMap((pattern) =>
      quotedIn('payloads/cgroup.ts', pattern)
        .slice(1)
        .map((word) => `cgroup_${word}`),
    ),
  () => quotedIn('report/joboutputs-words.ts', /const MESSAGE_FILE = '[a-z_]+'/),
  // What log.ts itself puts in where a line has none.
  () => quotedIn('log.ts', /event: 'message'/),
];

/** Every `event` that a line of the log can have; of the daemon, `exec`, the guard and the hand. */
export function logEvents(): ReadonlySet<string> {
  const events = new Set<string>(TEMPLATES.flatMap((words) => words()));
  for (const [file, text] of texts) {
    for (const [, argument = ''] of text.matchAll(LOG_CALL)) {
      const literal = LITERAL.exec(argument);
      if (literal === null) {
        const excerpt = argument.slice(0, 60).replace(/\s+/g, ' ');
        const handedOn = HANDED_ON.get(file);
        assert.ok(
          handedOn !== undefined && argument.startsWith(handedOn),
          `agent/${file}: what is the event of "${excerpt}"? No rule here says it`,
        );
      }
      for (const word of literal?.slice(1) ?? []) if (word !== undefined) events.add(word);
    }
    for (const pattern of INDIRECT) for (const [, word] of text.matchAll(pattern)) if (word) events.add(word);
  }
  return events;
}

/** Where a source's code is a variable: its values are literals that `CODES` finds, an errno, or a status. */
const PASSED_ON: ReadonlySet<string> = new Set([
  'errnoCode(error)',
  'found.code',
  'code',
  'bytes.error',
  'error.code',
  "failures[0]?.code ?? 'internal'",
  'progress.firstBad.code',
  'file.error',
  'outcome.code',
  'reading.code',
  'word.code',
  "welcome ? 'dbus_protocol' : 'dbus_auth'",
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the text of the program, not its value
  '`http_${status}`',
]);
const CODES: readonly RegExp[] = [
  /new SourceError\(\s*'([a-z_0-9]+)'/g,
  /new SourceError\(\s*[a-z]+ \? '([a-z_0-9]+)' : '([a-z_0-9]+)'/g,
  /\bis: 'unknown', error: '([a-z_0-9]+)'/g,
  /\b(?:unknown|bad|fail)\(\s*'([a-z_0-9]+)'/g,
  /\breturn \{ error: '([a-z_0-9]+)' \}/g,
  /\{ error: '([a-z_0-9]+)' \}/g,
  /\bcode: '([a-z_0-9]+)'/g,
  /\bcode: '([a-z_0-9]+)' \| '([a-z_0-9]+)'/g,
  /\berror: [^,;{}]*\? '([a-z_]+)' : '([a-z_]+)'/g,
  /const code = .* \? '([a-z_]+)' : '([a-z_]+)'/g,
  /code === '[A-Z]+'(?: \|\| code === '[A-Z]+')?\) return '([a-z_]+)'/g,
];
/** Where the heart finds fault with what a source said. */
const JUDGES: ReadonlySet<string> = new Set(['lifetime/features.ts', 'lifetime/observe.ts']);
/** Words of that form which never reach a person as a source's code: what a reading is called inside. */
const INTERNAL: ReadonlySet<string> = new Set(['absent', 'not_found']);

/** Every code that `/v1/sources`, `status` or `probe` can show for a source or one of its keys, but for statuses and errnos. */
export function sourceCodes(): ReadonlySet<string> {
  const codes = new Set<string>([
    // The union says all that the HTTP client gives.
    ...quotedIn('sources/link-local.ts', /export type FailureCode =[^;]+;/),
    ...quotedIn('lifetime/bounds.ts', /const TOO_MANY = '[a-z_]+'/),
    // driver-read.ts: what a source did not foresee.
    ...quotedIn('sources/driver-read.ts', /code: 'internal'/),
  ]);
  for (const [file, text] of texts) {
    if (!file.startsWith('sources/') && !JUDGES.has(file)) continue;
    for (const pattern of CODES)
      for (const match of text.matchAll(pattern)) for (const word of match.slice(1)) if (word) codes.add(word);
    for (const [, argument = ''] of text.matchAll(/new SourceError\(\s*([^'\s][^,]*),/g))
      assert.ok(PASSED_ON.has(argument), `agent/${file}: which codes can ${argument} be? No rule here says it`);
  }
  for (const word of INTERNAL) codes.delete(word);
  return codes;
}

/** Codes of the refusals of the HTTP interface with 403 and 429. */
export const refusalCodes = (): ReadonlySet<string> =>
  new Set(Object.entries(PROBLEMS).flatMap(([code, { status }]) => (status === 403 || status === 429 ? [code] : [])));
