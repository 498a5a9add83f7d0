/**
 * logind's manager object on the bus (org.freedesktop.login1(5)): who is logind now, its signals, its properties. Anybody on
 * the system bus may send signals of any name to anybody, so that only the name's owner is believed, by its unique name; what
 * others send is not even parsed.
 */
import { BUS_NAME, BUS_PATH, type BusMessage, openBus } from './logind-bus.ts';
import type { BusHeader } from './logind-header.ts';
import type { ShutdownPicture } from './logind-shutdown.ts';
import { type SourceEnvironment, SourceError } from './source.ts';

export interface LogindSession {
  /**
   * Asks for the properties and enters them into the picture; false when nobody is logind on this bus.
   * @throws SourceError (see logind-bus.ts; `dbus_bad_value`)
   */
  refresh(): Promise<boolean>;
  close(): void;
}

export interface LogindOptions extends Pick<SourceEnvironment, 'log' | 'trace'> {
  readonly socketPath: string;
  readonly signal: AbortSignal;
  readonly picture: ShutdownPicture;
  /** Something may have changed: worth a reading. */
  onChange(): void;
  /** Once, when the connection ended by itself. */
  onLost(error: SourceError): void;
}

const LOGIND = 'org.freedesktop.login1';
const LOGIND_PATH = '/org/freedesktop/login1';
const MANAGER = 'org.freedesktop.login1.Manager';
const PROPERTIES = 'org.freedesktop.DBus.Properties';

const MATCHES = [
  `type='signal',sender='${BUS_NAME}',interface='${BUS_NAME}',member='NameOwnerChanged',arg0='${LOGIND}'`,
  `type='signal',sender='${LOGIND}',path='${LOGIND_PATH}',interface='${MANAGER}',member='PrepareForShutdown'`,
  // systemd 255 and later: names the type.
  `type='signal',sender='${LOGIND}',path='${LOGIND_PATH}',interface='${MANAGER}',member='PrepareForShutdownWithMetadata'`,
  // Whoever tells of changes spares us the wait for the next poll; systemd 252 does not for what is of interest here.
  `type='signal',sender='${LOGIND}',path='${LOGIND_PATH}',interface='${PROPERTIES}',member='PropertiesChanged',arg0='${MANAGER}'`,
];

/** Signatures of the signals above, by interface and member. */
const OF_THE_BUS: ReadonlyMap<string, string> = new Map([[`${BUS_NAME}.NameOwnerChanged`, 'sss']]);
const OF_LOGIND: ReadonlyMap<string, string> = new Map([
  [`${MANAGER}.PrepareForShutdown`, 'b'],
  [`${MANAGER}.PrepareForShutdownWithMetadata`, 'ba{sv}'],
  [`${PROPERTIES}.PropertiesChanged`, 'sa{sv}as'],
]);

/** Connects, subscribes and finds logind. Throws SourceError. */
export async function openLogind(options: LogindOptions): Promise<LogindSession> {
  const { picture, onChange, log } = options;
  let owner: string | undefined;
  let toldForeign = false;
  let toldSkipped = false;

  const bus = await openBus({
    socketPath: options.socketPath,
    signal: options.signal,
    expects,
    onSignal,
    onLost: options.onLost,
    onSkipped(why) {
      log[toldSkipped ? 'debug' : 'info']({ event: 'logind_message_skipped', why }, 'logind: passed over a message');
      toldSkipped = true;
    },
  });
  picture.startOver();

  function setOwner(name: unknown): void {
    const next = typeof name === 'string' && name !== '' ? name : undefined;
    if (next !== owner) picture.startOver();
    owner = next;
  }

  function expects(signal: BusHeader): string | undefined {
    const name = `${signal.interface}.${signal.member}`;
    if (signal.sender === BUS_NAME) return OF_THE_BUS.get(name);
    if (owner !== undefined && signal.sender === owner && signal.path === LOGIND_PATH) return OF_LOGIND.get(name);
    foreign(signal);
    return undefined;
  }

  function onSignal({ sender, interface: from, member, body }: BusMessage): void {
    if (sender === BUS_NAME) {
      if (body[0] !== LOGIND) return;
      setOwner(body[2]);
    } else if (from === PROPERTIES) {
      if (body[0] !== MANAGER || !namesAnyOf(body)) return;
    } else if (typeof body[0] === 'boolean') {
      if (member === 'PrepareForShutdown') picture.announced(body[0]);
      else picture.announced(body[0], typeIn(body[1]));
    }
    onChange();
  }

  function foreign({ sender, member }: BusHeader): void {
    if (toldForeign || member?.startsWith('PrepareForShutdown') !== true) return;
    toldForeign = true;
    log.warn(
      { event: 'logind_foreign_signal', sender },
      'logind: somebody else on the bus announces a shutdown in its name; ignored',
    );
  }

  async function get<T>(asked: string, property: string, enter: (value: unknown) => T): Promise<T> {
    const startedMs = performance.now();
    let answered = 'present';
    try {
      return await bus.call(
        {
          destination: asked,
          path: LOGIND_PATH,
          interface: PROPERTIES,
          member: 'Get',
          args: [MANAGER, property],
          answer: 'v',
        },
        (answer) => {
          // Another logind has taken its place meanwhile: this is yesterday's.
          if (owner !== asked) throw new SourceError('dbus_lost', 'logind was restarted');
          return enter(variantOf(answer.body[0]));
        },
      );
    } catch (error) {
      answered = error instanceof SourceError ? error.code : 'internal';
      throw error;
    } finally {
      options.trace?.({
        source: 'logind',
        asked: `D-Bus ${property}`,
        answered,
        tookMs: performance.now() - startedMs,
      });
    }
  }

  async function refresh(): Promise<boolean> {
    const asked = owner;
    if (asked === undefined) return false;
    const results = await Promise.allSettled([
      get(asked, 'InhibitDelayMaxUSec', picture.delayMaxIs),
      get(asked, 'ScheduledShutdown', picture.scheduledIs),
      get(asked, 'PreparingForShutdown', picture.preparingIs),
    ]);
    if (owner === undefined) return false;
    const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
    // elogind and old versions lack one or the other; whoever answers nothing at all does not answer.
    const severe = failures.find((error) => !(error instanceof SourceError) || error.code !== 'dbus_error');
    if (severe !== undefined) throw severe;
    if (failures.length === results.length) throw failures[0];
    if (results[1].status === 'rejected') picture.scheduledIs(undefined);
    return true;
  }

  const askBus = <T>(
    member: string,
    args: readonly string[],
    answer: '' | 's',
    take: (answer: BusMessage) => T,
  ): Promise<T> => bus.call({ destination: BUS_NAME, path: BUS_PATH, interface: BUS_NAME, member, args, answer }, take);

  try {
    await Promise.all([
      ...MATCHES.map((match) => askBus('AddMatch', [match], '', () => undefined)),
      askBus('GetNameOwner', [LOGIND], 's', ({ body }) => setOwner(body[0])).catch((error: unknown) => {
        // Nobody has the name: the bus answers with an error. Who takes it will be heard of.
        if (!(error instanceof SourceError) || error.code !== 'dbus_error') throw error;
      }),
    ]);
  } catch (error) {
    bus.close();
    throw error;
  }
  return { refresh, close: () => bus.close() };
}

const WATCHED = new Set(['PreparingForShutdown', 'ScheduledShutdown', 'InhibitDelayMaxUSec']);

/** `PropertiesChanged`: interface, what changed with its values, what changed without. */
function namesAnyOf([, changed, invalidated]: readonly unknown[]): boolean {
  const names = [...entriesOf(changed).map(([name]) => name), ...(Array.isArray(invalidated) ? invalidated : [])];
  return names.some((name) => WATCHED.has(name));
}

/** The library gives a dictionary as a list of pairs … */
const entriesOf = (value: unknown): readonly (readonly unknown[])[] =>
  Array.isArray(value) ? value.filter((entry) => Array.isArray(entry)) : [];

/** … and a variant as its signature, parsed, and a list with the one value. */
function variantOf(value: unknown): unknown {
  const content: unknown = Array.isArray(value) ? value[1] : undefined;
  return Array.isArray(content) ? content[0] : undefined;
}

function typeIn(metadata: unknown): string | undefined {
  const entry = entriesOf(metadata).find(([key]) => key === 'type');
  const type = entry === undefined ? undefined : variantOf(entry[1]);
  return typeof type === 'string' ? type : undefined;
}
