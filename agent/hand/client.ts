/** The agent's end of the hand's socket: one connection a request. */
import net from 'node:net';
import type { HandResult, HookOutcome, HookRequest } from './hand.ts';
import {
  ABORT_LINE,
  type HandAnswer,
  type HandRequest,
  MAX_ANSWER_BYTES,
  MAX_REQUEST_BYTES,
  parseAnswer,
} from './protocol.ts';

/** systemd starts the hand for each connection: a program start on a slow, busy guest. */
const FIRST_ANSWER_MS = 30_000;
/** After the time of a hook is over, the hand still has to end it and to say so. */
const LAST_ANSWER_MS = 10_000;

/** Beyond this Node's timers fire at once (SYSTEMS.md, "Time"). */
const MAX_TIMER_MS = 2 ** 31 - 1;

type Failure = { readonly code: string; readonly detail: string };

/** Units and power-off. Never rejects; `unreachable` where nobody listens. */
export function askHand(socket: string, request: HandRequest): Promise<HandResult> {
  return new Promise((resolve) => {
    converse(socket, request, FIRST_ANSWER_MS, {
      onAnswer(answer) {
        if (!('result' in answer)) return false;
        resolve(answer.result);
        return true;
      },
      onFailure: (failure) => resolve({ ok: false, ...failure }),
    });
  });
}

/** Never rejects; `not_run` with `unreachable` where nobody listens. */
export function askHook(socket: string, request: HookRequest): Promise<HookOutcome> {
  const { directory, file, env, stdin, timeoutMs, signal } = request;
  const begun = performance.now();
  return new Promise((resolve) => {
    let started = false;
    const end = (outcome: HookOutcome): void => {
      signal?.removeEventListener('abort', abort);
      resolve(outcome);
    };
    const connection = converse(
      socket,
      { verb: 'hook', directory, file, env, stdin, timeoutMs },
      FIRST_ANSWER_MS + timeoutMs + LAST_ANSWER_MS,
      {
        onAnswer(answer) {
          if ('started' in answer && !started) {
            started = true;
            request.onStarted?.(answer.started);
          } else if ('line' in answer) request.onLine(answer.stream, answer.line);
          else if ('result' in answer && !answer.result.ok) {
            const { code, detail } = answer.result;
            end({ is: 'not_run', code, detail });
          }
          if (!('outcome' in answer)) return 'result' in answer;
          end(answer.outcome);
          return true;
        },
        onFailure(failure) {
          // It was started: that its end is not known is no reason to say that it did not run.
          if (started) end({ is: 'ended', code: null, signal: null, ms: Math.round(performance.now() - begun) });
          else end({ is: 'not_run', ...failure });
        },
      },
    );
    const abort = (): void => void connection.write(ABORT_LINE);
    signal?.addEventListener('abort', abort, { once: true });
    if (signal?.aborted === true) abort();
  });
}

interface Hearing {
  /** true: that was all. */
  onAnswer(answer: HandAnswer): boolean;
  onFailure(failure: Failure): void;
}

/** Keeps no process alive: what the hand does, it does without us. */
function converse(path: string, request: HandRequest, boundMs: number, hearing: Hearing): net.Socket {
  const socket = net.connect(path);
  let held = '';
  let over = false;
  const fail = (code: string, detail: string): void => {
    if (!over) hearing.onFailure({ code, detail });
    finish();
  };
  const finish = (): void => {
    over = true;
    clearTimeout(timer);
    socket.destroy();
  };
  const timer = setTimeout(() => fail('timeout', 'the root hand does not answer'), Math.min(boundMs, MAX_TIMER_MS));
  timer.unref();
  socket.unref();
  socket.setEncoding('utf8');
  socket.on('error', (error: NodeJS.ErrnoException) => fail('unreachable', `${path}: ${error.code ?? error.message}`));
  socket.on('close', () => fail('failed', 'the root hand ended without an answer'));
  socket.on('data', (text: string) => {
    const lines = (held + text).split('\n');
    held = lines.pop() ?? '';
    for (const line of lines) {
      const answer = parseAnswer(line);
      if (answer === null) return fail('failed', 'the root hand gave an answer that makes no sense');
      if (!over && hearing.onAnswer(answer)) return finish();
    }
    if (held.length > MAX_ANSWER_BYTES) fail('failed', 'the root hand gave an answer that is too long');
  });
  const line = `${JSON.stringify(request)}\n`;
  // Later, as every other failure: the caller has nothing in its hand yet.
  if (Buffer.byteLength(line) > MAX_REQUEST_BYTES)
    process.nextTick(() => fail('failed', 'the request is too long for the root hand'));
  else socket.write(line);
  return socket;
}
