/**
 * Between the socket and the library that parses D-Bus. The library reads as much as a header announces, builds whatever a
 * signature describes and throws where that does not fit; and any local user may send signals to anybody on the bus. So it
 * is fed whole messages only, of a size that no answer to our questions exceeds, and what it throws ends here.
 */
import { EventEmitter } from 'node:events';

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
  /** What came is no D-Bus; nothing more is parsed. */
  onBroken(why: string): void;
  /** A message was passed over: too large, or the library could not parse it. */
  onSkipped(why: string): void;
}

/** Our answers are some hundred bytes; systemd's longest signal to all is below 4 KiB. */
export const MAX_MESSAGE_BYTES = 64 * 1024;
/** D-Bus specification, "Message Protocol": none is longer. */
const LONGEST_LEGAL_BYTES = 128 * 1024 * 1024;
/** A line of authentication is some fifty characters. */
const MAX_AUTH_BYTES = 4 * 1024;
/** Byte order, type, flags, version, body length, serial, length of the fields. */
const FIXED_HEADER_BYTES = 16;
const LITTLE_ENDIAN = 'l'.charCodeAt(0);
const BIG_ENDIAN = 'B'.charCodeAt(0);
const PROTOCOL_VERSION = 1;
const METHOD_CALL = 1;
const EMPTY: Buffer = Buffer.alloc(0);

export function openFrames({ write, onBroken, onSkipped }: FrameOptions): FramePipe {
  const events = new EventEmitter();
  /** What the library may read now. */
  let offered = EMPTY;
  /** What is not a whole message yet. */
  let pending = EMPTY;
  /** Bytes of an oversized message that are still to come. */
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
      const bytes = lengthOf(pending);
      if (bytes === undefined) {
        giveUp('what came is no D-Bus message');
        return;
      }
      // Nobody has anything to ask of us.
      if (pending[1] === METHOD_CALL || bytes > MAX_MESSAGE_BYTES) {
        if (bytes > MAX_MESSAGE_BYTES) onSkipped(`a message of ${bytes} bytes`);
        skipBytes = bytes;
        continue;
      }
      if (pending.length < bytes) break;
      const frame = pending.subarray(0, bytes);
      pending = pending.subarray(bytes);
      offer(frame);
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

/** Of the whole message at the beginning of `bytes`; undefined where there is none. */
function lengthOf(bytes: Buffer): number | undefined {
  const order = bytes[0];
  if ((order !== LITTLE_ENDIAN && order !== BIG_ENDIAN) || bytes[3] !== PROTOCOL_VERSION) return undefined;
  const little = order === LITTLE_ENDIAN;
  const bodyBytes = little ? bytes.readUInt32LE(4) : bytes.readUInt32BE(4);
  const fieldBytes = little ? bytes.readUInt32LE(12) : bytes.readUInt32BE(12);
  const length = FIXED_HEADER_BYTES + Math.ceil(fieldBytes / 8) * 8 + bodyBytes;
  return length > LONGEST_LEGAL_BYTES ? undefined : length;
}
