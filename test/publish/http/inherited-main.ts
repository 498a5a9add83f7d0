/** Started by listeners.test.ts with listening sockets as descriptors 3 and 4, as systemd would; ends with its stdin. */
import { pino } from 'pino';
import { startHttp } from '../../../agent/publish/http/server.ts';
import { fakePort } from './fake-port.ts';

async function main(): Promise<void> {
  const [runtimeDir = '', port = ''] = process.argv.slice(2);
  const server = await startHttp(fakePort(), {
    listen: [{ host: '127.0.0.1', port: Number(port) }],
    runtimeDir,
    log: pino({ level: 'silent' }),
    version: '0',
    listenFds: [3, 4],
  });
  process.stdout.write(JSON.stringify(server.urls()));
  process.stdin.resume();
  process.stdin.on('end', () => void server.close());
}

void main();
