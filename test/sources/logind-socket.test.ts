import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { it } from 'node:test';
import { connect, readInTurns } from '../../agent/sources/logind-socket.ts';

const CHUNK_BYTES = 64 * 1024;
const ALL_BYTES = 8 * 1024 * 1024;

it('however much comes over a socket, others have their turn after each chunk, and nothing is lost', async () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-turns-'));
  const server = net.createServer((peer) => peer.end(Buffer.alloc(ALL_BYTES, 'x')));
  const socketPath = path.join(directory, 'socket');
  server.listen(socketPath);
  await once(server, 'listening');
  let turnBytes = 0;
  let longestTurnBytes = 0;
  let allBytes = 0;
  let turning = true;
  const turn = (): void => {
    turnBytes = 0;
    if (turning) setImmediate(turn);
  };
  try {
    const socket = await connect(socketPath, new AbortController().signal);
    turn();
    readInTurns(socket, (chunk) => {
      allBytes += chunk.length;
      turnBytes += chunk.length;
      longestTurnBytes = Math.max(longestTurnBytes, turnBytes);
    });
    await once(socket, 'close');
    assert.equal(allBytes, ALL_BYTES);
    assert.ok(longestTurnBytes <= CHUNK_BYTES, `${longestTurnBytes} bytes in one turn`);
  } finally {
    turning = false;
    server.close();
    fs.rmSync(directory, { recursive: true, force: true });
  }
});
