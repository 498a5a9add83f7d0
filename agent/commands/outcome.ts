/** What the commands do with an answer that is not the one they hoped for: what is wrong, what to do next, the right exit code. */
import fs from 'node:fs';
import path from 'node:path';
import type { DaemonAnswer } from '../client.ts';
import type { ConfigProblem } from '../config/problem.ts';
import { describeProblem } from '../config/problem.ts';
import { EXIT } from '../exit-codes.ts';
import { DEFAULT_RUNTIME_DIR, type Output } from './command.ts';

/** Longest answer to one question; a healthy daemon needs milliseconds. */
export const ANSWER_TIMEOUT_MS = 10_000;

/** Tells why and gives the exit code: 77 not permitted, 69 not reachable or not well, 1 refused. */
export function explain(answer: DaemonAnswer, runtimeDir: string, output: Output): number {
  if ('unreachable' in answer) {
    // What is not seen there may be there: nobody else's directory can be looked into.
    const isHidden = answer.code === 'ENOENT' && isClosed(runtimeDir);
    const code = isHidden ? 'EACCES' : answer.code;
    const what = isHidden ? `this user may not look into ${runtimeDir}` : answer.unreachable;
    output.complain(`${what}; ${nextStep(code, runtimeDir)}`);
    return code === 'EACCES' || code === 'EPERM' ? EXIT.notPermitted : EXIT.unavailable;
  }
  const detail = detailOf(answer.body);
  if (answer.status === 401 || answer.status === 403) {
    output.complain(`not permitted: ${detail}`);
    return EXIT.notPermitted;
  }
  if (answer.status >= 500) {
    output.complain(
      `the daemon cannot answer now (${answer.status}): ${detail}; try again, and see ${journal(runtimeDir)}`,
    );
    return EXIT.unavailable;
  }
  output.complain(`refused (${answer.status}): ${detail}`);
  return EXIT.failure;
}

/** As `explain`; also for an answer of 200 that is not what mjf-agent says. */
export function refusal(answer: DaemonAnswer, runtimeDir: string, output: Output): number {
  if ('unreachable' in answer || answer.status !== 200) return explain(answer, runtimeDir, output);
  output.complain(`what answers in ${runtimeDir} is not mjf-agent; is --runtime-dir right?`);
  return EXIT.unavailable;
}

/** For who finds no daemon: how to get one, or the other one. */
function startStep(runtimeDir: string): string {
  return runtimeDir === DEFAULT_RUNTIME_DIR
    ? '"systemctl status mjf-agent" says why, "sudo systemctl start mjf-agent" starts it; if it publishes elsewhere, say where with --runtime-dir'
    : `is ${runtimeDir} the right directory (--runtime-dir, MJF_AGENT_RUNTIME_DIR)? "mjf-agent run --runtime-dir ${runtimeDir}" starts one there`;
}

/** Every problem of a configuration, and how to find out whether it is right. Gives the exit code. */
export function explainConfig(problems: readonly ConfigProblem[], file: string | undefined, output: Output): number {
  for (const problem of problems) output.complain(describeProblem(problem));
  // What stands on the command line itself is seen there.
  if (problems.every(({ origin }) => origin?.startsWith('--') === true)) return EXIT.configuration;
  const check = `mjf-agent check${file === undefined ? '' : ` ${path.resolve(file)}`}`;
  output.complain(`the configuration is wrong, nothing was started; "${check}" says when it is right`);
  return EXIT.configuration;
}

const journal = (runtimeDir: string): string =>
  runtimeDir === DEFAULT_RUNTIME_DIR ? '"journalctl -u mjf-agent"' : 'its log';

function nextStep(code: string, runtimeDir: string): string {
  switch (code) {
    case 'ENOENT':
    case 'ECONNREFUSED':
      // Asked over HTTP, and the daemon is there: it listens on no address.
      return fs.existsSync(path.join(runtimeDir, 'agent.sock')) && code === 'ENOENT'
        ? 'without one it hears root alone: try with sudo, or have "listen" of its configuration name an address'
        : startStep(runtimeDir);
    case 'EACCES':
    case 'EPERM':
      return `${ownerText(runtimeDir)}try again as that user or with sudo, or name another daemon with --runtime-dir`;
    case 'timeout':
      return `it is very busy, or stopped: see "systemctl status mjf-agent" and ${journal(runtimeDir)}`;
    case 'too_big':
      return 'is --runtime-dir right?';
    default:
      return `try again, and see ${journal(runtimeDir)}`;
  }
}

/** Whether it is there and says nothing to this user. */
function isClosed(runtimeDir: string): boolean {
  try {
    fs.readdirSync(runtimeDir);
    return false;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EACCES';
  }
}

function ownerText(runtimeDir: string): string {
  try {
    return `${runtimeDir} belongs to uid ${fs.statSync(runtimeDir).uid}: `;
  } catch {
    return `${runtimeDir} is another user's: `;
  }
}

/** `detail` of an RFC 9457 body, else the beginning of what was said; without its full stop, since the sentence goes on. */
function detailOf(body: Buffer): string {
  const text = body.toString('utf8', 0, 1000).trim();
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && 'detail' in value)
      return String(value.detail).replace(/\.$/, '');
  } catch {
    // Not JSON: shown as it is.
  }
  return text === '' ? 'no reason given' : text;
}
