/**
 * Who is calling (SYSTEMS.md). Node has no SO_PEERCRED, so a loopback TCP caller is found in the kernel's socket tables,
 * before and after the body was received; the socket files speak by their permissions.
 */
import { readlinkSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import path from 'node:path';
import type { Caller } from '../../ports.ts';
import type { HttpBounds } from './bounds.ts';
import { channelOf, isLoopback } from './channel.ts';
import { refusal } from './problem.ts';
import { lookForPeer, type PeerVerdict } from './proc-net.ts';
import { type TokenBucket, tokenBucket } from './token-bucket.ts';
import { createTurns } from './turns.ts';

/** What a route asks of its caller: `own` = rows of the caller's own uid; `write` changes something; `operator` = admin.sock. */
export type Access = 'read' | 'own' | 'write' | 'operator';

export interface Callers {
  /** Before the body is read. Throws a refusal. */
  before(request: IncomingMessage, access: Access): Promise<void>;
  /** After the body was received; the caller counts only from here on. */
  after(request: IncomingMessage, access: Access): Promise<void>;
  /** Who it seems to be while its body is still to come: enough to refuse, never to allow. */
  presumed(request: IncomingMessage): Caller;
  /** Who it is; `reader` for everything that was not asked to identify itself. */
  of(request: IncomingMessage): Caller;
}

interface Peer {
  readonly uid: number;
  readonly inode: string;
}

/** A table beyond this is not one of a machine that still works; reading on would only help whoever filled it. */
const MAX_TABLE_BYTES = 16 * 1024 * 1024;
const CHUNK_BYTES = 64 * 1024;
/** Of the time in which somebody waits to be known, the tables take a third at the most. */
const READING_REST = 2;
/** So many wait for one reading at the most; each holds a connection. */
const MOST_WAITING = 512;
/** Users with a bucket of their own; what is forgotten is a full one, or his who has more users than a machine has. */
const MOST_BUCKETS = 1024;

const EXPLANATIONS: Readonly<
  Record<Exclude<PeerVerdict, { ok: true }>['why'] | 'not_loopback' | 'changed' | 'error', string>
> = {
  own_row: 'the kernel does not show this connection as established',
  client_row: 'the kernel does not show the other end of this connection on this machine',
  client_closed: 'the other end of this connection is closed already',
  unmapped_user:
    'the user at the other end is 65534, which stands for every user without a number here: run as a user of your own',
  not_loopback: 'the other end is not on this machine',
  changed: 'the other end of this connection changed hands while the request was read',
  error: 'the socket tables of the kernel cannot be read',
};

/**
 * `procRoot` is `/proc` but in tests. Look-ups cost the whole machine time: the tables are read for all who wait at once, and
 * each user may ask so often. One who asks without end must not use up what the others need for their words.
 */
export function createCallers(options: {
  readonly procRoot: string;
  readonly bounds: Pick<HttpBounds, 'lookupBurst' | 'lookupsPerSec'>;
}): Callers {
  const { procRoot, bounds } = options;
  /** Positive answers only, by connection; the look-up after the body runs all the same. */
  const known = new WeakMap<Socket, Peer>();
  const expected = new WeakMap<IncomingMessage, Peer>();
  const callers = new WeakMap<IncomingMessage, Caller>();
  const buckets = new Map<number, TokenBucket>();
  const inTurn = createTurns(READING_REST);
  let coming: Promise<readonly string[]> | null = null;
  let waiting = 0;

  /** A reading that begins after this call. */
  function readTables(): Promise<readonly string[]> {
    coming ??= inTurn(async () => {
      coming = null;
      return [
        await readTable(path.join(procRoot, 'self/net/tcp'), true),
        await readTable(path.join(procRoot, 'self/net/tcp6'), false),
      ];
    });
    return coming;
  }

  function charge(uid: number): void {
    let bucket = buckets.get(uid);
    if (bucket === undefined) {
      bucket = tokenBucket(bounds.lookupBurst, bounds.lookupsPerSec);
      const [oldest] = buckets.keys();
      if (buckets.size >= MOST_BUCKETS && oldest !== undefined) buckets.delete(oldest);
      buckets.set(uid, bucket);
    }
    if (!bucket.take()) throw tooOften();
  }

  /** `of`: whose look-up it is, where that is known; else he pays who is found. */
  async function lookUp(socket: Socket, of?: number): Promise<Peer> {
    if (of !== undefined) charge(of);
    if (waiting >= MOST_WAITING) throw tooOften();
    waiting += 1;
    const verdict = await peerOf(socket, procRoot, readTables).finally(() => {
      waiting -= 1;
    });
    if (!verdict.ok) throw unidentified(verdict.why);
    if (of === undefined) charge(verdict.uid);
    return verdict;
  }

  return {
    async before(request, access) {
      if (access === 'read') return;
      const { socket } = request;
      const channel = channelOf(socket);
      if (channel.kind === 'operator') return;
      if (access === 'operator') throw refusal('operator_only', 'Only the operator may do this, through admin.sock.');
      if (channel.kind === 'reader') {
        throw refusal('read_only', 'agent.sock is read-only and does not tell who calls. Use the loopback address.');
      }
      if (!channel.loopback) throw refusal('read_only', 'This address is read-only. Use the loopback address.');
      const peer = known.get(socket) ?? (await lookUp(socket));
      // Also if it is refused before its body has come: its next request shall not cost this look again.
      known.set(socket, peer);
      expected.set(request, peer);
    },
    async after(request, access) {
      if (access === 'read') return;
      const { socket } = request;
      if (channelOf(socket).kind === 'operator') {
        callers.set(request, { kind: 'operator' });
        return;
      }
      const before = expected.get(request);
      if (before === undefined) throw unidentified('error');
      const peer = await lookUp(socket, before.uid);
      if (peer.uid !== before.uid || peer.inode !== before.inode) {
        known.delete(socket);
        throw unidentified('changed');
      }
      known.set(socket, peer);
      callers.set(request, { kind: 'user', uid: peer.uid });
    },
    presumed(request) {
      if (channelOf(request.socket).kind === 'operator') return { kind: 'operator' };
      const peer = expected.get(request);
      return peer === undefined ? { kind: 'reader' } : { kind: 'user', uid: peer.uid };
    },
    of: (request) => callers.get(request) ?? { kind: 'reader' },
  };
}

/** Whether this caller may see and change what belongs to `uid`: the owner, root, the operator (S5.5). */
export function maySee(caller: Caller, uid: number): boolean {
  return caller.kind === 'operator' || (caller.kind === 'user' && (caller.uid === uid || caller.uid === 0));
}

const tooOften = () =>
  refusal('rate_limited', 'Too many requests that need the caller identified. Ask again.', {
    headers: { 'retry-after': '1' },
  });

function unidentified(why: keyof typeof EXPLANATIONS) {
  // A client that hung up before it could be asked for: nobody is told, and nothing was done.
  const code = why === 'client_closed' ? 'client_gone' : 'unidentified';
  return refusal(code, `The caller cannot be identified: ${EXPLANATIONS[why]}.`);
}

async function peerOf(
  socket: Socket,
  procRoot: string,
  readTables: () => Promise<readonly string[]>,
): Promise<PeerVerdict | { readonly ok: false; readonly why: 'not_loopback' | 'error' }> {
  const remote = socket.remoteAddress?.replace(/^::ffff:/i, '');
  if (remote === undefined || !isLoopback(remote)) return { ok: false, why: 'not_loopback' };
  try {
    // Number and link in one synchronous go: between them the descriptor could be closed and its number given to another.
    const fd = descriptorOf(socket);
    const link = fd === undefined ? '' : readlinkSync(path.join(procRoot, 'self/fd', String(fd)));
    const inode = /^socket:\[(\d+)\]$/.exec(link)?.[1];
    if (inode === undefined) return { ok: false, why: socket.destroyed ? 'client_closed' : 'own_row' };
    // Through the thread pool: a large table takes the kernel some 10 ms, which no signal should wait for.
    const verdict = await lookForPeer(readTables, inode);
    // A connection that the client has reset stands in no table any more.
    const isReset = !verdict.ok && verdict.why === 'own_row' && socket.destroyed;
    return isReset ? { ok: false, why: 'client_closed' } : verdict;
  } catch {
    return { ok: false, why: 'error' };
  }
}

/** Node keeps the descriptor on an internal handle; whatever is not what it was in 20, 22 and 24 means "unknown". */
function descriptorOf(socket: Socket): number | undefined {
  const handle: unknown = Reflect.get(socket, '_handle');
  if (typeof handle !== 'object' || handle === null) return undefined;
  const fd: unknown = Reflect.get(handle, 'fd');
  return typeof fd === 'number' && Number.isInteger(fd) && fd >= 0 ? fd : undefined;
}

/** tcp6 is missing where IPv6 is off (`required: false`). */
async function readTable(file: string, required: boolean): Promise<string> {
  let handle: Awaited<ReturnType<typeof open>>;
  try {
    handle = await open(file, 'r');
  } catch (error) {
    if (!required && error instanceof Error && 'code' in error && error.code === 'ENOENT') return '';
    throw error;
  }
  try {
    const chunks: Buffer[] = [];
    for (let total = 0; ; ) {
      const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
      const { bytesRead } = await handle.read(chunk, 0, CHUNK_BYTES, null);
      if (bytesRead === 0) return Buffer.concat(chunks).toString('latin1');
      total += bytesRead;
      if (total > MAX_TABLE_BYTES) throw new Error(`${file} is larger than ${MAX_TABLE_BYTES} bytes`);
      chunks.push(chunk.subarray(0, bytesRead));
    }
  } finally {
    await handle.close();
  }
}
