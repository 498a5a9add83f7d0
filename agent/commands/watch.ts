/** `mjf-agent watch`: a line per change, for ever, also over restarts of the daemon. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type DaemonAnswer, request } from '../client.ts';
import { escapeLine } from '../escape.ts';
import { EXIT } from '../exit-codes.ts';
import { defineCommand, type Output, RUNTIME_DIR_OPTION, runtimeDirOf } from './command.ts';
import { type LifetimeDocument, parseLifetime } from './lifetime-document.ts';
import { explain } from './outcome.ts';
import { changeLine } from './watch-line.ts';

/** One hanging GET; short enough that a half-dead connection is noticed. */
const HANG_SECS = 60;
/** How much later than promised the end of a hanging GET may come. */
const SLACK_MS = 10_000;
/** Between attempts to reach a daemon that restarts, and the least between two equal answers: no busy loop, ever. */
const RETRY_MS = 1000;

export const command = defineCommand({
  name: 'watch',
  summary: 'print a line for every change',
  usage: 'watch [--json]',
  options: {
    json: { type: 'boolean', description: 'a line is the whole document of GET /v1/lifetime' },
    ...RUNTIME_DIR_OPTION,
  },
  positionals: { least: 0, most: 0 },
  details: 'The first line is the state at the start. When the daemon restarts, watch says so on stderr and goes on.',
  async run(context) {
    const runtimeDir = runtimeDirOf(context);
    let etag: string | undefined;
    let shown: LifetimeDocument | undefined;
    let lost = false;
    for (;;) {
      const askedMs = performance.now();
      const answer = await ask(runtimeDir, lost ? undefined : etag);
      const lifetime = 'unreachable' in answer || answer.status !== 200 ? undefined : parseLifetime(answer.body);
      if ('unreachable' in answer || lifetime === undefined) {
        if (shown === undefined) return refuse(answer, context);
        if (!lost) context.complain('connection to the daemon lost, waiting for it');
        lost = true;
        await sleep(RETRY_MS);
        continue;
      }
      if (lost) context.complain('connected to the daemon again');
      lost = false;
      const answered = String(answer.headers.etag ?? '');
      if (answered !== etag) {
        const line = context.values.json ? oneLine(answer.body) : changeLine(shown, lifetime, Date.now());
        if (line !== undefined) context.out(`${escapeLine(line)}\n`);
      } else if (performance.now() - askedMs < RETRY_MS) {
        // A server that does not hang would make this a busy loop.
        await sleep(RETRY_MS);
      }
      etag = answered;
      shown = lifetime;
    }
  },
});

function refuse(answer: DaemonAnswer, output: Output): number {
  if ('unreachable' in answer || answer.status !== 200) return explain(answer, output);
  output.complain('what answers there is not mjf-agent');
  return EXIT.unavailable;
}

function ask(runtimeDir: string, etag: string | undefined): Promise<DaemonAnswer> {
  const wait = `?wait_for_change=true&last_etag=${encodeURIComponent(etag ?? '')}&timeout_sec=${HANG_SECS}`;
  return request({
    channel: 'agent',
    runtimeDir,
    method: 'GET',
    path: `/v1/lifetime${etag === undefined ? '' : wait}`,
    timeoutMs: etag === undefined ? SLACK_MS : HANG_SECS * 1000 + SLACK_MS,
  });
}

function oneLine(body: Buffer): string {
  return JSON.stringify(JSON.parse(body.toString()));
}
