/**
 * Between the socket and the library that parses D-Bus. The library reads as much as a header announces, builds whatever a
 * signature describes and throws where that does not fit; and any local user may send signals to anybody on the bus. So it
 * is fed whole messages only, which somebody wants by their header, of a size that no answer to our questions exceeds, and
 * whose bodies are what their signature says; and what it throws ends here.
 */
import { EventEmitter } from 'node:events';
import { type BusHeader, FIXED_HEADER_BYTES, readHeader } from './logind-header.ts';
import { skipValues } from './logind-values.ts';

export interface FramePipe {
  /** What the library takes for its stream. */
  readonly stream: DbusNativeStream;
  /** Bytes that came over the socket. */
  feed(chunk: Buffer): void;
  /** Authentication is over: from now on whole messages. */
  beginMessages(): void;
}

export interface FrameOptions {
  write(bytes: Buffer | string): void;
  /** Whether it is worth parsing. Asked in the order of the messages, each after the one before was taken. */
  wants(header: BusHeader): boolean;
  /** The library is through with a message, and has swallowed nothing of what happens in here. */
  onParsed(): void;
  /** What came is no D-Bus; nothing more is parsed. */
  onBroken(why: string): void;
  /** A message that was wanted was passed over: too large, or not to be parsed. */
  onSkipped(why: string): void;
}

/** Our answers are some hundred bytes; systemd's longest signal to all is below 4 KiB. */
export const MAX_MESSAGE_BYTES = 64 * 1024;
/** Fixed part and fields: six names of at most 255 characters each, and what a later D-Bus may add. */
export const MAX_HEAD_BYTES = 4 * 1024;
/** D-Bus specification, "Message Protocol": none is longer. */
const LONGEST_LEGAL_BYTES = 128 * 1024 * 1024;
/** A line of authentication is some fifty characters. */
const MAX_AUTH_BYTES = 4 * 1024;
const LITTLE_ENDIAN = 'l'.charCodeAt(0);
const BIG_ENDIAN = 'B'.charCodeAt(0);
const PROTOCOL_VERSION = 1;
const METHOD_CALL = 1;
const EMPTY: Buffer = Buffer.alloc(0);

export function openFrames({ write, wants, onParsed, onBroken, onSkipped }: FrameOptions): FramePipe {
  const events = new EventEmitter();
  /** What the library may read now. */
  let offered = EMPTY;
  /** What is not a whole message yet. */
  let pending = EMPTY;
  /** Bytes of a message that nobody wants that are still to come. */
  let skipBytes = 0;
  let messages = false;
  let broken = false;

  function read(bytes: number): Buffer | null {
    if (bytes > offered.length) return null;
    const part = offered.subarray(0, bytes);
    offered = offered.subarray(bytes);
    return part;
  }

  function offer(bytes: Buffer): void {
    offered = bytes;
    try {
      events.emit('readable');
    } catch (error) {
      onSkipped(error instanceof Error ? error.message : String(error));
    }
  }

  function giveUp(why: string): void {
    broken = true;
    pending = EMPTY;
    offered = EMPTY;
    onBroken(why);
  }

  function feedAuthentication(chunk: Buffer): void {
    const bytes = Buffer.concat([offered, chunk]);
    if (bytes.length > MAX_AUTH_BYTES) giveUp('what answers does not speak D-Bus');
    else offer(bytes);
  }

  function feedMessages(chunk: Buffer): void {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    while (!broken) {
      if (skipBytes > 0) {
        const skipped = Math.min(skipBytes, pending.length);
        skipBytes -= skipped;
        pending = pending.subarray(skipped);
      }
      if (pending.length < FIXED_HEADER_BYTES) break;
      const lengths = lengthsOf(pending);
      if (lengths === undefined) {
        giveUp('what came is no D-Bus message');
        return;
      }
      const { headBytes, bytes, little } = lengths;
      // Nobody has anything to ask of us.
      if (pending[1] === METHOD_CALL || headBytes > MAX_HEAD_BYTES) {
        skipBytes = bytes;
        continue;
      }
      // The body of what is not wanted is not even collected.
      if (pending.length < headBytes) break;
      const header = readHeader(pending);
      if (header === undefined || !wants(header)) {
        skipBytes = bytes;
        continue;
      }
      if (bytes > MAX_MESSAGE_BYTES) {
        onSkipped(`a message of ${bytes} bytes`);
        skipBytes = bytes;
        continue;
      }
      if (pending.length < bytes) break;
      const frame = pending.subarray(0, bytes);
      pending = pending.subarray(bytes);
      if (skipValues(frame, headBytes, header.signature, little) !== bytes) {
        onSkipped('a body that does not fit its signature');
        continue;
      }
      offer(frame);
      onParsed();
    }
  }

  return {
    stream: {
      on: (event, listener) => void events.on(event, listener),
      removeListener: (event, listener) => void events.removeListener(event, listener),
      // The handshake's way to say that it failed.
      emit: (_event, error) => giveUp(error instanceof Error ? error.message : String(error)),
      read,
      write,
    },
    feed(chunk) {
      if (broken) return;
      if (messages) feedMessages(chunk);
      else feedAuthentication(chunk);
    },
    beginMessages() {
      messages = true;
    },
  };
}

/** Of the message at the beginning of `bytes`, without and with its body; undefined where there is none. */
function lengthsOf(bytes: Buffer): { headBytes: number; bytes: number; little: boolean } | undefined {
  const order = bytes[0];
  if ((order !== LITTLE_ENDIAN && order !== BIG_ENDIAN) || bytes[3] !== PROTOCOL_VERSION) return undefined;
  const little = order === LITTLE_ENDIAN;
  const bodyBytes = little ? bytes.readUInt32LE(4) : bytes.readUInt32BE(4);
  const fieldBytes = little ? bytes.readUInt32LE(12) : bytes.readUInt32BE(12);
  const headBytes = FIXED_HEADER_BYTES + Math.ceil(fieldBytes / 8) * 8;
  const length = headBytes + bodyBytes;
  return length > LONGEST_LEGAL_BYTES ? undefined : { headBytes, bytes: length, little };
}
