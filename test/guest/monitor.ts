/** QEMU's machine protocol (QMP), as little of it as the tests need, and lines from any of its sockets. */
import net from 'node:net';
import readline from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

/** QEMU makes its sockets within its first second; the machine may be busy. */
const SOCKET_MS = 30_000;
const ANSWER_MS = 30_000;

export interface Monitor {
  /** Rejects where QEMU says `error`, or nothing in time. */
  execute(command: string, args?: Readonly<Record<string, unknown>>): Promise<void>;
  close(): void;
}

/** Of a socket that may not be there yet. */
export async function connectTo(file: string): Promise<net.Socket> {
  const giveUpAt = Date.now() + SOCKET_MS;
  for (;;) {
    const socket = net.connect(file);
    const failed = await new Promise<Error | null>((resolve) => {
      socket.once('connect', () => resolve(null)).once('error', resolve);
    });
    // An error later on is the machine's end, which is seen elsewhere.
    if (failed === null) return socket.on('error', () => undefined);
    if (Date.now() > giveUpAt) throw failed;
    await sleep(50);
  }
}

export async function openMonitor(file: string): Promise<Monitor> {
  const socket = await connectTo(file);
  const waiting: { readonly resolve: () => void; readonly reject: (error: Error) => void }[] = [];
  readline.createInterface({ input: socket }).on('line', (line) => {
    const said = JSON.parse(line) as { readonly return?: unknown; readonly error?: { readonly desc?: string } };
    // Whatever else comes is an event, or the greeting.
    if ('return' in said) waiting.shift()?.resolve();
    else if (said.error !== undefined) waiting.shift()?.reject(new Error(said.error.desc ?? 'error'));
  });
  const monitor: Monitor = {
    execute: (command, args = {}) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`QEMU does not answer to ${command}`)), ANSWER_MS);
        const settle = (then: () => void): void => {
          clearTimeout(timer);
          then();
        };
        waiting.push({
          resolve: () => settle(resolve),
          reject: (error) => settle(() => reject(error)),
        });
        socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
      }),
    close: () => void socket.destroy(),
  };
  await monitor.execute('qmp_capabilities');
  return monitor;
}
