/** The socket of a bus: there, not there, or there and nobody behind it. */
import net from 'node:net';
import { SourceError } from './source.ts';

/** A local socket connects at once, or its listener is too busy to be of use. */
const CONNECT_TIMEOUT_MS = 2_000;

/**
 * Connected, with a listener for errors that stays. It keeps the process alive until somebody says otherwise.
 * @throws SourceError `dbus_no_socket`, `dbus_connect`, `dbus_timeout`
 */
export function connect(socketPath: string, signal: AbortSignal): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.createConnection({ path: socketPath });
    const settle = (error?: SourceError): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      if (error === undefined) resolve(socket);
      else {
        socket.destroy();
        reject(error);
      }
    };
    const onAbort = (): void => settle(new SourceError('dbus_timeout', 'no connection in time'));
    const timer = setTimeout(onAbort, CONNECT_TIMEOUT_MS);
    timer.unref();
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    // Stays for the whole life of the socket: an error that nobody listens to ends the process.
    socket.on('error', (error: NodeJS.ErrnoException) => {
      const code = error.code === 'ENOENT' || error.code === 'ENOTDIR' ? 'dbus_no_socket' : 'dbus_connect';
      settle(new SourceError(code, `${socketPath}: ${error.message}`));
    });
    socket.once('connect', () => settle());
  });
}

/**
 * Hands on what comes in chunks of at most 64 KiB (Node's own measure), and gives way to everything else after each: however
 * much is sent, what is done with one chunk is the longest that others wait. What is not read waits in the kernel.
 */
export function readInTurns(socket: net.Socket, feed: (chunk: Buffer) => void): void {
  socket.on('data', (chunk: Buffer) => {
    socket.pause();
    setImmediate(() => socket.resume());
    feed(chunk);
  });
}
