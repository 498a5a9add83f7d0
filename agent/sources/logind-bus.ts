/**
 * A connection to a D-Bus daemon over its Unix socket: asks, and hears signals. Every wait is bounded, and whatever goes
 * wrong ends as a SourceError with one of the codes `dbus_no_socket`, `dbus_connect`, `dbus_auth`, `dbus_timeout`,
 * `dbus_lost`, `dbus_protocol`, `dbus_bad_value` (an answer of another signature), `dbus_error` (the other side answered with an
 * error). Anybody may send signals to us: what nobody waits for, and from whom nobody waits for it, is not parsed.
 */
import type net from 'node:net';
import { openFrames } from './logind-frames.ts';
import type { BusHeader } from './logind-header.ts';
import { connect, readInTurns } from './logind-socket.ts';
import { SourceError } from './source.ts';

/** The body is what the signature made of it; none where an error has another than a text. */
export interface BusMessage extends BusHeader {
  readonly body: readonly unknown[];
}

export interface BusRequest {
  readonly destination: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  /** Texts only: nothing that we ask needs more. */
  readonly args: readonly string[];
  /** Signature of the answer. */
  readonly answer: '' | 's' | 'v';
}

export interface Bus {
  /**
   * `take` runs at the moment at which the answer has come, before any later message is looked at: what it notes down cannot
   * overtake a signal, as the continuation of a promise can.
   */
  call<T>(request: BusRequest, take: (answer: BusMessage) => T): Promise<T>;
  /** Ends it at once; what is asked fails with `dbus_lost`. `onLost` is not called. */
  close(): void;
}

export interface BusOptions {
  readonly socketPath: string;
  readonly signal: AbortSignal;
  /** The signature of a signal that is waited for from this sender; undefined: not of interest, and passed over unparsed. */
  expects(signal: BusHeader): string | undefined;
  onSignal(message: BusMessage): void;
  /** Once, when it ended by itself. */
  onLost(error: SourceError): void;
  onSkipped(why: string): void;
}

/** The daemon's own name; it stamps every message with its sender, so nobody else can bear it. */
export const BUS_NAME = 'org.freedesktop.DBus';
export const BUS_PATH = '/org/freedesktop/DBus';

/** Bus and logind answer within milliseconds; a system that goes down is slow, and five seconds may be all there is. */
const CALL_TIMEOUT_MS = 2_000;
const METHOD_CALL = 1;
const METHOD_RETURN = 2;
const ERROR = 3;
const SIGNAL = 4;
/** What nobody offers is not to be started by asking for it. */
const NO_AUTO_START = 2;

/** Connects, authenticates and says hello. */
export async function openBus(options: BusOptions): Promise<Bus> {
  const socket = await connect(options.socketPath, options.signal);
  try {
    // Loaded only here: a machine without a bus does without it.
    const [{ default: message }, { default: handshake }] = await Promise.all([
      import('@homebridge/dbus-native/lib/message.js'),
      import('@homebridge/dbus-native/lib/handshake.js'),
    ]);
    return await greet(socket, options, message, handshake);
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

type Message = typeof import('@homebridge/dbus-native/lib/message.js');
type Handshake = typeof import('@homebridge/dbus-native/lib/handshake.js');

interface Asked {
  readonly request: BusRequest;
  answer(message: BusMessage): void;
  fail(error: SourceError): void;
}

async function greet(socket: net.Socket, options: BusOptions, message: Message, handshake: Handshake): Promise<Bus> {
  const asked = new Map<number, Asked>();
  let inbox: BusMessage[] = [];
  let serial = 0;
  let closed: SourceError | undefined;
  let welcome = false;

  const frames = openFrames({
    write: (bytes) => {
      if (!closed) socket.write(bytes);
    },
    wants,
    onParsed() {
      const now = inbox;
      inbox = [];
      for (const one of now) if (!closed) deliver(one);
    },
    onBroken: (why) => end(new SourceError(welcome ? 'dbus_protocol' : 'dbus_auth', why)),
    onSkipped: options.onSkipped,
  });

  function wants(header: BusHeader): boolean {
    if (closed) return false;
    if (header.type === SIGNAL) {
      const expected = welcome ? options.expects(header) : undefined;
      if (expected === undefined || expected === header.signature) return expected !== undefined;
      options.onSkipped(`${header.member} with the signature ${excerpt(header.signature)}`);
      return false;
    }
    const waiting = header.replySerial === undefined ? undefined : asked.get(header.replySerial);
    if (waiting === undefined) return false;
    const { destination, answer } = waiting.request;
    const isError = header.type === ERROR;
    // The bus speaks for whoever is not there any more.
    if (header.sender !== destination && !(isError && header.sender === BUS_NAME)) return false;
    if (!isError && header.type !== METHOD_RETURN) return false;
    if (header.signature === (isError ? 's' : answer)) return true;
    waiting.answer({ ...header, body: [] });
    return false;
  }

  function end(error: SourceError, told = welcome): void {
    if (closed) return;
    closed = error;
    inbox = [];
    socket.destroy();
    for (const one of asked.values()) one.fail(error);
    asked.clear();
    if (told) options.onLost(error);
  }

  function deliver(one: BusMessage): void {
    if (one.type === SIGNAL) options.onSignal(one);
    else if ((one.type === METHOD_RETURN || one.type === ERROR) && one.replySerial !== undefined)
      asked.get(one.replySerial)?.answer(one);
  }

  readInTurns(socket, frames.feed);
  // First of its listeners: all that follow find `closed` set.
  socket.once('close', () => end(new SourceError('dbus_lost', 'the bus closed the connection')));

  function call<T>(request: BusRequest, take: (answer: BusMessage) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      if (closed) return reject(closed);
      serial += 1;
      const id = serial;
      const settle = (): void => {
        clearTimeout(timer);
        asked.delete(id);
        // While nobody waits for an answer, listening alone keeps no process alive.
        if (asked.size === 0) socket.unref();
      };
      const timer = setTimeout(() => {
        settle();
        reject(new SourceError('dbus_timeout', `${request.member}: no answer in ${CALL_TIMEOUT_MS} ms`));
      }, CALL_TIMEOUT_MS);
      timer.unref();
      socket.ref();
      asked.set(id, {
        request,
        answer(reply) {
          settle();
          if (reply.type === ERROR) return reject(errorOf(request, reply));
          if (reply.signature !== request.answer)
            return reject(
              new SourceError('dbus_bad_value', `${request.member}: answered with ${excerpt(reply.signature)}`),
            );
          try {
            resolve(take(reply));
          } catch (error) {
            reject(error);
          }
        },
        fail(error) {
          settle();
          reject(error);
        },
      });
      const { args, answer: _, ...header } = request;
      const body = args.length === 0 ? {} : { signature: 's'.repeat(args.length), body: args };
      frames.stream.write(
        message.marshall({ ...header, ...body, type: METHOD_CALL, serial: id, flags: NO_AUTO_START }),
      );
    });
  }

  await authenticate(options.signal, (done) => {
    handshake(frames.stream, { authMethods: ['EXTERNAL'] }, (error) => {
      if (error) return end(new SourceError('dbus_auth', `refused by the bus: ${textOf(error)}`));
      frames.beginMessages();
      message.unmarshalMessages(frames.stream, (one) => void inbox.push(toBusMessage(one)), {});
      done();
    });
    socket.once('close', () => done(closed));
  });
  await call(
    { destination: BUS_NAME, path: BUS_PATH, interface: BUS_NAME, member: 'Hello', args: [], answer: 's' },
    () => undefined,
  );
  welcome = true;
  return { call, close: () => end(new SourceError('dbus_lost', 'closed'), false) };
}

function authenticate(signal: AbortSignal, start: (done: (error?: SourceError) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (error?: SourceError): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', late);
      if (error === undefined) resolve();
      else reject(error);
    };
    const late = (): void => done(new SourceError('dbus_timeout', 'the bus does not answer'));
    const timer = setTimeout(late, CALL_TIMEOUT_MS);
    timer.unref();
    signal.addEventListener('abort', late, { once: true });
    start(done);
  });
}

function errorOf(request: BusRequest, reply: BusMessage): SourceError {
  const said = typeof reply.body[0] === 'string' ? `: ${excerpt(reply.body[0])}` : '';
  return new SourceError('dbus_error', `${request.member}: ${excerpt(reply.errorName ?? 'error')}${said}`);
}

/** The other side's words are as long as it likes. */
const excerpt = (text: string): string => (text.length > 120 ? `${text.slice(0, 120)}…` : text);
const textOf = (error: unknown): string => excerpt(error instanceof Error ? error.message : String(error));
const nameOf = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);

function toBusMessage(raw: DbusNativeMessage): BusMessage {
  return {
    type: raw.type,
    sender: nameOf(raw.sender),
    path: nameOf(raw.path),
    interface: nameOf(raw.interface),
    member: nameOf(raw.member),
    errorName: nameOf(raw.errorName),
    replySerial: typeof raw.replySerial === 'number' ? raw.replySerial : undefined,
    signature: nameOf(raw.signature) ?? '',
    body: Array.isArray(raw.body) ? raw.body : [],
  };
}
