/** A bus that does what no sound one does, for the tests of logind: it answers as it is told to, on a private socket. */
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import message from '@homebridge/dbus-native/lib/message.js';

export type BusManner =
  /** Like a good one: logind is there and plans nothing. */
  | 'sound'
  /** Says nothing at all. */
  | 'silent'
  | 'refuses'
  /** Another program listens there. */
  | 'speaks_http'
  /** Closes the connection where the hello should be answered. */
  | 'closes'
  /** After the hello come bytes that are no message. */
  | 'garbage'
  /** A header that announces four gigabytes. */
  | 'boundless'
  /** In front of every answer: a signal of a megabyte, a method call, and one whose body does not fit its signature. */
  | 'noisy'
  /** Answers the hello and nothing else. */
  | 'deaf';

export interface OddBus {
  readonly address: string;
  manner: BusManner;
  /** Connections so far. */
  readonly connections: () => number;
  close(): Promise<void>;
}

const MANAGER_VALUES: Readonly<Record<string, readonly [signature: string, value: unknown]>> = {
  PreparingForShutdown: ['b', false],
  ScheduledShutdown: ['(st)', ['', 0]],
  InhibitDelayMaxUSec: ['t', 5_000_000],
};
const LOGIND = ':1.0';

export async function startOddBus(manner: BusManner): Promise<OddBus> {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-oddbus-'));
  const socketPath = path.join(directory, 'bus');
  const sockets = new Set<net.Socket>();
  let connections = 0;
  const server = net.createServer((socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => sockets.delete(socket));
    serve(socket, bus.manner);
  });
  const bus: OddBus = {
    address: `unix:path=${socketPath}`,
    manner,
    connections: () => connections,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      fs.rmSync(directory, { recursive: true, force: true });
    },
  };
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  return bus;
}

function serve(socket: net.Socket, manner: BusManner): void {
  if (manner === 'silent') return;
  const authenticate = (chunk: Buffer): void => {
    const text = chunk.toString('latin1');
    if (manner === 'refuses') socket.write('REJECTED EXTERNAL\r\n');
    else if (manner === 'speaks_http') socket.end(`HTTP/1.1 400 Bad Request\r\n${'x'.repeat(10_000)}`);
    else if (text.includes('AUTH')) socket.write('OK 0123456789abcdef\r\n');
    if (!text.includes('BEGIN')) return;
    socket.off('data', authenticate);
    const rest = chunk.subarray(chunk.indexOf('BEGIN\r\n') + 'BEGIN\r\n'.length);
    if (rest.length > 0) socket.unshift(rest);
    message.unmarshalMessages(
      {
        on: (event, listener) => void socket.on(event, listener),
        removeListener: (event, listener) => void socket.removeListener(event, listener),
        emit: () => undefined,
        read: (bytes) => socket.read(bytes),
        write: (bytes) => void socket.write(bytes),
      },
      (request) => answer(socket, manner, request),
      {},
    );
  };
  socket.on('data', authenticate);
}

function answer(socket: net.Socket, manner: BusManner, request: DbusNativeMessage): void {
  const hello = request.member === 'Hello';
  if (hello && manner === 'closes') return void socket.end();
  if (!hello && manner === 'garbage') return void socket.write('this is no message, and long enough for one');
  if (!hello && manner === 'boundless')
    return void socket.write(Buffer.from('6c020001ffffffff0100000010000000', 'hex'));
  if (!hello && manner === 'deaf') return;
  if (!hello && manner === 'noisy') for (const noise of NOISE) socket.write(noise);
  const [signature, body] = contentFor(request);
  const sender = request.destination === LOGIND ? LOGIND : 'org.freedesktop.DBus';
  const content = signature === '' ? {} : { signature, body };
  socket.write(message.marshall({ type: 2, serial: 1, replySerial: request.serial, sender, ...content }));
}

function contentFor({ member, body }: DbusNativeMessage): readonly [signature: string, body: readonly unknown[]] {
  if (member === 'Hello') return ['s', [':1.1']];
  if (member === 'GetNameOwner') return ['s', [LOGIND]];
  if (member !== 'Get' || !Array.isArray(body)) return ['', []];
  const [signature, value] = MANAGER_VALUES[String(body[1])] ?? ['s', ''];
  return ['v', [[signature, value]]];
}

const signal = { type: 4, serial: 1, sender: LOGIND, path: '/a', interface: 'a.b', member: 'C' };
/** The length of its text, which begins behind the header, says more than there is. */
const misfit = message.marshall({ ...signal, signature: 'as', body: [['text']] });
misfit.fill(0x7f, misfit.length - 12, misfit.length - 8);
/** A type that the library does not know. */
const unknownType = message.marshall({ ...signal, signature: 's', body: ['text'] });
unknownType[unknownType.lastIndexOf('s\0', unknownType.length - 12)] = 'h'.charCodeAt(0);
const NOISE: readonly Buffer[] = [
  message.marshall({ ...signal, signature: 's', body: ['x'.repeat(1_000_000)] }),
  message.marshall({ ...signal, type: 1, destination: ':1.1' }),
  misfit,
  unknownType,
];
