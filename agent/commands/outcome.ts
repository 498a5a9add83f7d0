/** What the commands do with an answer that is not the one they hoped for: one sentence and the right exit code. */

import type { DaemonAnswer } from '../client.ts';
import { EXIT } from '../exit-codes.ts';
import type { Output } from './command.ts';

/** Longest answer to one question; a healthy daemon needs milliseconds. */
export const ANSWER_TIMEOUT_MS = 10_000;

/** Tells why and gives the exit code: 77 not permitted, 69 not reachable or not well, 1 refused. */
export function explain(answer: DaemonAnswer, output: Output): number {
  if ('unreachable' in answer) {
    output.complain(answer.unreachable);
    return answer.code === 'EACCES' || answer.code === 'EPERM' ? EXIT.notPermitted : EXIT.unavailable;
  }
  const detail = detailOf(answer.body);
  if (answer.status === 401 || answer.status === 403) {
    output.complain(`not permitted: ${detail}`);
    return EXIT.notPermitted;
  }
  if (answer.status >= 500) {
    output.complain(`the daemon cannot answer now (${answer.status}): ${detail}`);
    return EXIT.unavailable;
  }
  output.complain(`refused (${answer.status}): ${detail}`);
  return EXIT.failure;
}

/** `detail` of an RFC 9457 body, else the beginning of what was said. */
function detailOf(body: Buffer): string {
  const text = body.toString('utf8', 0, 1000).trim();
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && 'detail' in value) return String(value.detail);
  } catch {
    // Not JSON: shown as it is.
  }
  return text === '' ? 'no reason given' : text;
}
