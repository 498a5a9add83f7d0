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
  /**
   * In front of every answer: signals of logind of a megabyte, of another signature, with a body that does not fit it and with
   * a value that the library does not know; a method call; and an answer from somebody who was not asked.
   */
  | 'noisy'
  /** In front of every answer: what another user of the bus may send to anybody, in logind's name and in others. */
  | 'flooded'
  /** Answers the question who logind is with a number. */
  | 'misanswers'
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
  if (!hello && manner === 'flooded') socket.write(FLOOD);
  if (!hello && manner === 'noisy') {
    for (const noise of NOISE) socket.write(noise);
    socket.write(
      message.marshall({ ...STRANGER, type: 2, replySerial: request.serial, signature: 'v', body: [['s', 'odd']] }),
    );
  }
  const [signature, body] =
    manner === 'misanswers' && request.member === 'GetNameOwner' ? (['u', [1]] as const) : contentFor(request);
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

const MANAGER = 'org.freedesktop.login1.Manager';
const BY_LOGIND = { type: 4, serial: 1, sender: LOGIND, path: '/org/freedesktop/login1' };
const PREPARE = { interface: MANAGER, member: 'PrepareForShutdown' };
const CHANGED = {
  interface: 'org.freedesktop.DBus.Properties',
  member: 'PropertiesChanged',
  signature: 'sa{sv}as',
};
const STRANGER = { type: 4, serial: 1, sender: ':1.66', path: '/org/freedesktop/login1' };

/** The length of its text, which begins behind the header, says more than there is. */
function misfit(header: typeof BY_LOGIND): Buffer {
  const bytes = message.marshall({ ...header, ...CHANGED, body: ['text', [], []] });
  bytes.fill(0x7f, bytes.lastIndexOf('text') - 4, bytes.lastIndexOf('text'));
  return bytes;
}
/** A type that D-Bus knows and the library does not: a descriptor. */
const unknownType = message.marshall({ ...BY_LOGIND, ...CHANGED, body: [MANAGER, [['Any', ['u', 0]]], []] });
unknownType[unknownType.lastIndexOf('\x01u\0') + 1] = 'h'.charCodeAt(0);
const NOISE: readonly Buffer[] = [
  message.marshall({ ...BY_LOGIND, ...CHANGED, body: ['x'.repeat(1_000_000), [], []] }),
  message.marshall({ ...BY_LOGIND, ...PREPARE, type: 1, destination: ':1.1' }),
  message.marshall({ ...BY_LOGIND, ...PREPARE, signature: 's', body: ['true'] }),
  misfit(BY_LOGIND),
  unknownType,
];
const variants = Array.from({ length: 4_500 }, () => ['y', 1]);
const FLOOD = Buffer.concat(
  Array.from({ length: 20 }, () => [
    message.marshall({ ...STRANGER, interface: 'a.b', member: 'C', signature: 'av', body: [variants] }),
    message.marshall({ ...STRANGER, ...CHANGED, body: [MANAGER, [['PreparingForShutdown', ['b', true]]], []] }),
    message.marshall({ ...STRANGER, interface: 'a.b', member: 'C', signature: 's', body: ['x'.repeat(100_000)] }),
    misfit(STRANGER),
    // Logind itself, of what nobody subscribed to.
    message.marshall({ ...BY_LOGIND, interface: MANAGER, member: 'SessionNew', signature: 's', body: ['1'] }),
  ]).flat(),
);
