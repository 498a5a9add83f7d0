/** The bad moods of the stand-in server. */
import type http from 'node:http';

export type Fault =
  | {
      readonly is: 'status';
      readonly status: number;
      readonly body?: string;
      readonly headers?: Readonly<Record<string, string>>;
    }
  /** 200 with a web page: a captive portal, a front page. */
  | { readonly is: 'html' }
  /** 200 with no body at all. */
  | { readonly is: 'empty' }
  /** 200 with these bytes. */
  | { readonly is: 'bytes'; readonly bytes: Buffer; readonly headers?: Readonly<Record<string, string>> }
  /** One byte each `everyMs`, of a body announced as long. */
  | { readonly is: 'drip'; readonly everyMs?: number }
  /** A body without end, as fast as it is taken. */
  | { readonly is: 'endless' }
  | { readonly is: 'redirect'; readonly to: string }
  /** Takes the request and never answers. */
  | { readonly is: 'hang' }
  /** Answers properly, but only after this time. */
  | { readonly is: 'slow'; readonly delayMs: number }
  /** Breaks the connection before any answer. */
  | { readonly is: 'reset' }
  /** Breaks the connection in the middle of the body. */
  | { readonly is: 'reset-mid-body' }
  /** Announces more than it sends and closes in good order. */
  | { readonly is: 'short-body' }
  /** Chunked, with nonsense where a chunk should begin. */
  | { readonly is: 'bad-chunks' };

/** The faults that need no more than their name, for the command line. */
export const SIMPLE_FAULTS = [
  'html',
  'empty',
  'drip',
  'endless',
  'hang',
  'reset',
  'reset-mid-body',
  'short-body',
  'bad-chunks',
] as const;

const DRIP_EVERY_MS = 50;
const PAGE = '<!DOCTYPE html>\n<html><body>Please accept our terms of use.</body></html>\n';

/** Answers badly; `properly` is the answer of a healthy server. Every timer ends with the response. */
export function misbehave(fault: Fault, response: http.ServerResponse, properly: () => void): void {
  switch (fault.is) {
    case 'status':
      return void response.writeHead(fault.status, fault.headers).end(fault.body);
    case 'html':
      return void response.writeHead(200, { 'content-type': 'text/html' }).end(PAGE);
    case 'empty':
      return void response.writeHead(200, { 'content-length': 0 }).end();
    case 'bytes':
      return void response.writeHead(200, fault.headers).end(fault.bytes);
    case 'redirect':
      return void response.writeHead(302, { location: fault.to }).end();
    case 'hang':
      return;
    case 'slow': {
      const timer = setTimeout(properly, fault.delayMs);
      response.once('close', () => clearTimeout(timer));
      return;
    }
    case 'reset':
      resetSocket(response);
      return;
    case 'reset-mid-body':
      response.writeHead(200, { 'content-length': 1000 });
      response.write('17664', () => resetSocket(response));
      return;
    case 'short-body':
      response.writeHead(200, { 'content-length': 1000, connection: 'close' });
      response.write('17664', () => response.socket?.end());
      return;
    case 'bad-chunks':
      response.socket?.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n17664\r\nnot a length\r\n');
      return;
    case 'drip': {
      response.writeHead(200, { 'content-length': 1000 });
      const timer = setInterval(() => response.write('1'), fault.everyMs ?? DRIP_EVERY_MS);
      response.once('close', () => clearInterval(timer));
      return;
    }
    case 'endless': {
      const chunk = Buffer.alloc(16_384, '1');
      const pour = () => {
        while (!response.destroyed && response.write(chunk));
      };
      response.writeHead(200);
      response.on('drain', pour);
      pour();
    }
  }
}

function resetSocket(response: http.ServerResponse): void {
  response.socket?.resetAndDestroy();
}
