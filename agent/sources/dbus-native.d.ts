/**
 * The two rooms of @homebridge/dbus-native that are used: its marshalling and its handshake. Its front door would also load
 * an XML parser and a library of streams, which cost five times the memory and are not needed to talk to one service whose
 * interface is known. The package's version is pinned exactly.
 */

/** What it wants of a stream. `read` gives exactly so many bytes, or null as long as there are fewer. */
interface DbusNativeStream {
  on(event: 'readable', listener: () => void): void;
  removeListener(event: 'readable', listener: () => void): void;
  emit(event: 'error', error: unknown): void;
  read(bytes: number): Buffer | null;
  write(bytes: Buffer | string): void;
}

/** Fields of the header by name, as far as it knows them; nothing is checked. */
interface DbusNativeMessage {
  readonly type: number;
  readonly serial: number;
  readonly flags?: number;
  readonly path?: unknown;
  readonly interface?: unknown;
  readonly member?: unknown;
  readonly errorName?: unknown;
  readonly replySerial?: unknown;
  readonly destination?: unknown;
  readonly sender?: unknown;
  readonly signature?: unknown;
  readonly body?: unknown;
}

declare module '@homebridge/dbus-native/lib/message.js' {
  const message: {
    /** Throws for what does not fit its signature. */
    marshall(message: DbusNativeMessage): Buffer;
    /** Parses what comes, from now on; throws out of the `readable` listener for what it cannot parse. */
    unmarshalMessages(
      stream: DbusNativeStream,
      onMessage: (message: DbusNativeMessage) => void,
      options: { readonly ayBuffer?: boolean },
    ): void;
  };
  export = message;
}

declare module '@homebridge/dbus-native/lib/handshake.js' {
  /** Authenticates as this user; `callback` is called at most once. */
  function handshake(
    stream: DbusNativeStream,
    options: { readonly authMethods: readonly string[] },
    callback: (error: unknown, guid?: string) => void,
  ): void;
  export = handshake;
}
