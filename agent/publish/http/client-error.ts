/** Requests that Node's parser gives up on never reach a route: what goes wrong there is told in the same words. */
import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { INSTANCE_HEADER } from '../../instance.ts';
import { SECURITY_HEADERS } from './guard.ts';
import { problemText } from './problem.ts';
import { PROBLEMS, type ProblemCode } from './problem-catalogue.ts';

const KNOWN: Readonly<Record<string, readonly [code: ProblemCode, detail: string]>> = {
  HPE_HEADER_OVERFLOW: ['headers_too_large', 'Path and headers together may have 16 KiB.'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: ['too_large', 'The extensions of a chunk are too large.'],
  ERR_HTTP_REQUEST_TIMEOUT: ['request_timeout', 'The request did not come to its end in time.'],
};
const OTHER = ['bad_request', 'This is not HTTP/1.1.'] as const;

/** Answers and closes. One who has gone, or is in the midst of another answer, is only closed. */
export function answerUnreadable(error: Error, socket: Duplex, instance: string): void {
  const reason = 'code' in error ? String(error.code) : '';
  if (!socket.writable || reason === 'ECONNRESET' || hasBegun(socket)) {
    socket.destroy();
    return;
  }
  const [code, detail] = KNOWN[reason] ?? OTHER;
  const { status } = PROBLEMS[code];
  const body = problemText(code, detail);
  const headers = {
    [INSTANCE_HEADER]: instance,
    ...SECURITY_HEADERS,
    'content-type': 'application/problem+json; charset=utf-8',
    'content-length': String(Buffer.byteLength(body)),
    connection: 'close',
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}\r\n${body}`, () => socket.destroy());
}

/** As Node's own handler looks for it: bytes in the middle of another answer would be read as part of it. */
function hasBegun(socket: Duplex): boolean {
  const message: unknown = Reflect.get(socket, '_httpMessage');
  return typeof message === 'object' && message !== null && Reflect.get(message, '_headerSent') === true;
}
