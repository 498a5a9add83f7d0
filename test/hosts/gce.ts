/**
 * Stand-in of GCE's metadata service: a tree of values below `/computeMetadata/v1`, directories as lists of names or as
 * camelCase JSON, ETags, hanging GETs, the flavor header in both directions, guest attributes to be written. Incomplete
 * emulators on request.
 */
import { createHash } from 'node:crypto';
import { parseArgs } from 'node:util';
import type { RunningStandIn, StandIn } from './by-hand.ts';
import {
  type AskedRequest,
  type HostAnswer,
  type MetadataHost,
  type MetadataHostOptions,
  startMetadataHost,
} from './metadata-host.ts';

export interface GceHostOptions extends MetadataHostOptions {
  /** `full`, or how little of a hanging GET it knows: answers at once, or hangs and never answers at all. */
  readonly waits?: 'full' | 'ignored' | 'forever';
  /** `random`: another one on each answer. */
  readonly etags?: 'full' | 'none' | 'random';
  /** False: directories are only listed, whatever the query says. */
  readonly recursive?: boolean;
  /** False: neither demands nor sends `Metadata-Flavor`. */
  readonly flavor?: boolean;
  /** How who writes guest attributes is refused where they are switched off. Default: they are on. */
  readonly guestAttributes?: 'on' | 403 | 404;
  /** undefined: taken away. */
  readonly onTold?: (key: string, value: string | undefined) => void;
}

export interface GceHost extends MetadataHost {
  /** `preempted`, `attributes/NAME`, …: below `instance/`; undefined takes it away. Wakes whoever waits for it. */
  set(key: string, value: string | undefined): void;
  preempt(): void;
  /** NONE, MIGRATE_ON_HOST_MAINTENANCE, TERMINATE_ON_HOST_MAINTENANCE, or something new. */
  maintenance(event: string): void;
  /** The document, or a text in place of one; undefined: 404. */
  upcoming(document: object | string | undefined): void;
  stopping(details?: { readonly requestMs: number; readonly seconds: number }): void;
  attribute(name: string, value: string | undefined): void;
  /** Guest attributes as they stand now: `jobstatus/can_terminate`. */
  told(): Readonly<Record<string, string>>;
  guestAttributes(are: 'on' | 403 | 404): void;
  /** Hanging GETs for a key, below `instance/`, that are held back now. */
  waiting(key: string): number;
  /** Fulfilled when a hanging GET for the key is (or gets) held back. */
  held(key: string): Promise<void>;
}

const ROOT = '/computeMetadata/v1/';
const GUEST_ATTRIBUTES = 'guest-attributes/';
const DEFAULT_TIMEOUT_SECS = 300;
const FLAVOR = { 'metadata-flavor': 'Google', server: 'Metadata Server for VM' };
/** As a healthy machine has them; what it does not have is not there. */
const HEALTHY: Readonly<Record<string, string>> = {
  preempted: 'FALSE',
  'maintenance-event': 'NONE',
  'upcoming-maintenance': '{}',
  'scheduling/automatic-restart': 'TRUE',
  'scheduling/preemptible': 'FALSE',
  'scheduling/on-host-maintenance': 'MIGRATE',
  id: '4242424242424242',
  name: 'pilot-17',
  'machine-type': 'projects/1/machineTypes/n2-standard-8',
  zone: 'projects/1/zones/europe-west6-a',
  'cpu-platform': 'Intel Ice Lake',
  'attributes/ssh-keys': 'root:ssh-ed25519 AAAA',
};

/** Starts with a healthy machine on which nothing is planned. */
export async function startGceHost(options: GceHostOptions = {}): Promise<GceHost> {
  const { waits = 'full', etags = 'full', recursive = true, flavor = true } = options;
  const values = new Map(Object.entries(HEALTHY));
  const waiting = new Set<{ readonly key: string; readonly wake: () => void }>();
  const watchers = new Set<{ readonly key: string; readonly done: () => void }>();
  let answers = 0;
  let { guestAttributes = 'on' } = options;

  const current = (key: string, query: URLSearchParams) =>
    contentOf(values, key, recursive ? query : new URLSearchParams());

  async function answer(request: AskedRequest): Promise<HostAnswer> {
    const { path, query, headers } = request;
    if (flavor && (headers['metadata-flavor'] !== 'Google' || headers['x-forwarded-for'] !== undefined))
      return { status: 403, headers: FLAVOR, body: '<html>Forbidden</html>\n' };
    if (!path.startsWith(`${ROOT}instance/`)) return { status: 404, body: '<html>Not Found</html>\n' };
    const key = decodeURIComponent(path.slice(`${ROOT}instance/`.length));
    if (request.method !== 'GET') return write(request, key);
    let content = current(key, query);
    if (query.get('wait_for_change') === 'true' && content !== undefined && waits !== 'ignored') {
      const lastEtag = query.get('last_etag');
      if (waits === 'forever' && lastEtag !== '0') await request.closed;
      const same = () => lastEtag === null || (content !== undefined && etagOf(content.body) === lastEtag);
      const endMs = Date.now() + Number(query.get('timeout_sec') ?? DEFAULT_TIMEOUT_SECS) * 1000;
      let gone = false;
      void request.closed.then(() => {
        gone = true;
      });
      while (same() && !gone && Date.now() < endMs) {
        await changeOf(key, endMs - Date.now(), request.closed);
        const next = current(key, query);
        const changed = lastEtag === null && next?.body !== content?.body;
        content = next;
        if (changed) break;
      }
    }
    if (content === undefined)
      return { status: 404, ...(flavor && { headers: FLAVOR }), body: '<html>Not Found</html>\n' };
    answers += 1;
    const etag = etags === 'random' ? `${etagOf(content.body)}${answers}` : etagOf(content.body);
    return {
      status: 200,
      headers: {
        'content-type': content.type,
        ...(flavor ? FLAVOR : {}),
        ...(etags === 'none' ? {} : { etag }),
        'x-frame-options': 'SAMEORIGIN',
      },
      body: content.body,
    };
  }

  function write({ method, body }: AskedRequest, key: string): HostAnswer {
    const place = /^guest-attributes\/[^/]{1,128}\/[^/]{1,128}$/;
    if (!place.test(key) || (method !== 'PUT' && method !== 'DELETE')) return { status: 405, headers: FLAVOR };
    if (guestAttributes !== 'on') return { status: guestAttributes, headers: FLAVOR, body: '<html>Disabled</html>\n' };
    if (method === 'DELETE' && !values.has(key)) return { status: 404, headers: FLAVOR };
    set(key, method === 'PUT' ? body : undefined);
    options.onTold?.(key.slice(GUEST_ATTRIBUTES.length), method === 'PUT' ? body : undefined);
    return { status: 200, headers: FLAVOR };
  }

  function changeOf(key: string, longestMs: number, closed: Promise<void>): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        waiting.delete(entry);
        clearTimeout(timer);
        resolve();
      };
      const entry = { key, wake };
      const timer = setTimeout(wake, longestMs);
      void closed.then(wake);
      waiting.add(entry);
      for (const watcher of watchers) {
        if (watcher.key !== key) continue;
        watchers.delete(watcher);
        watcher.done();
      }
    });
  }

  function set(key: string, value: string | undefined): void {
    if (value === undefined) values.delete(key);
    else values.set(key, value);
    for (const { key: waited, wake } of [...waiting])
      if (waited === key || (waited.endsWith('/') && key.startsWith(waited))) wake();
  }

  const host = await startMetadataHost(options, answer);
  return {
    ...host,
    set,
    preempt: () => set('preempted', 'TRUE'),
    maintenance: (event) => set('maintenance-event', event),
    upcoming: (document) =>
      set('upcoming-maintenance', typeof document === 'object' ? JSON.stringify(document) : document),
    stopping(details) {
      set('shutdown-details/target-state', 'STOPPED');
      if (details !== undefined) {
        set('shutdown-details/request-timestamp', new Date(details.requestMs).toISOString());
        set('shutdown-details/max-duration', `${details.seconds}s`);
      }
      set('shutdown-details/stop-state', 'PENDING_STOP');
    },
    told: () =>
      Object.fromEntries(
        [...values].flatMap(([key, value]) =>
          key.startsWith(GUEST_ATTRIBUTES) ? [[key.slice(GUEST_ATTRIBUTES.length), value]] : [],
        ),
      ),
    guestAttributes(are) {
      guestAttributes = are;
    },
    attribute: (name, value) => set(`attributes/${name}`, value),
    waiting: (key) => [...waiting].filter((each) => each.key === key).length,
    held(key) {
      if ([...waiting].some((each) => each.key === key)) return Promise.resolve();
      return new Promise((done) => watchers.add({ key, done }));
    },
  };
}

interface Content {
  readonly type: string;
  readonly body: string;
}

function contentOf(values: ReadonlyMap<string, string>, key: string, query: URLSearchParams): Content | undefined {
  const value = values.get(key);
  // A document keeps its own spelling; what is a text becomes a JSON text only where that is asked for.
  if (value !== undefined) {
    const isDocument = /^[[{]/.test(value);
    if (query.get('alt') === 'json')
      return { type: 'application/json', body: isDocument ? value : JSON.stringify(value) };
    return { type: 'application/text', body: value };
  }
  if (!key.endsWith('/')) return undefined;
  const below = [...values].filter(([name]) => name.startsWith(key));
  if (below.length === 0 && key !== 'attributes/') return undefined;
  if (query.get('recursive') === 'true') {
    const rest = below.map(([name, each]) => [name.slice(key.length), each] as const);
    return { type: 'application/json', body: JSON.stringify(treeOf(rest, key.startsWith('attributes/'))) };
  }
  const names = below.map(([name]) => name.slice(key.length).replace(/\/.*$/, '/'));
  return { type: 'application/text', body: [...new Set(names)].map((name) => `${name}\n`).join('') };
}

/** Names of the platform become camelCase, those of a tenant stay as they are. */
function treeOf(entries: readonly (readonly [string, string])[], verbatim: boolean): Record<string, unknown> {
  const tree = new Map<string, unknown>();
  const folders = new Map<string, (readonly [string, string])[]>();
  for (const [name, value] of entries) {
    const [first = '', ...more] = name.split('/');
    if (more.length === 0) tree.set(verbatim ? name : camel(name), value);
    else folders.set(first, [...(folders.get(first) ?? []), [more.join('/'), value]]);
  }
  for (const [name, below] of folders) tree.set(camel(name), treeOf(below, verbatim || name === 'attributes'));
  return Object.fromEntries(tree);
}

const camel = (name: string): string => name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
const etagOf = (body: string): string => createHash('sha256').update(body).digest('hex').slice(0, 16);

const HELP = `  options: --spot  --on-host-maintenance MIGRATE|TERMINATE  --waits full|ignored|forever  --etags full|none|random
           --listing-only  --no-flavor
  preempt                         instance/preempted becomes TRUE
  maintenance EVENT               NONE, MIGRATE_ON_HOST_MAINTENANCE, TERMINATE_ON_HOST_MAINTENANCE
  upcoming SECS|none|gone         a maintenance window that begins in SECS seconds; {}; 404
  stop [SECS]                     graceful stop, with or without its time
  attribute NAME VALUE|+SECS      custom metadata; without VALUE: taken away
  set KEY VALUE                   any key below instance/; without VALUE: taken away
  guest-attributes on|403|404     what the machine tells us: taken and printed, or refused
`;

export const standIn: StandIn = { help: HELP, start: startByHand };

async function startByHand(args: readonly string[]): Promise<RunningStandIn> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      port: { type: 'string' },
      address: { type: 'string' },
      spot: { type: 'boolean' },
      'on-host-maintenance': { type: 'string' },
      waits: { type: 'string' },
      etags: { type: 'string' },
      'listing-only': { type: 'boolean' },
      'no-flavor': { type: 'boolean' },
    },
  });
  const host = await startGceHost({
    port: Number(values.port ?? 0),
    ...(values.address === undefined ? {} : { address: values.address }),
    ...(values.waits === undefined ? {} : { waits: oneOf(values.waits, ['full', 'ignored', 'forever'] as const) }),
    ...(values.etags === undefined ? {} : { etags: oneOf(values.etags, ['full', 'none', 'random'] as const) }),
    recursive: values['listing-only'] !== true,
    flavor: values['no-flavor'] !== true,
    onTold: (key, value) =>
      void process.stdout.write(value === undefined ? `taken away: ${key}\n` : `told: ${key} = ${value}\n`),
  });
  if (values.spot) host.set('scheduling/preemptible', 'TRUE');
  const onHost = values['on-host-maintenance'];
  if (onHost !== undefined) host.set('scheduling/on-host-maintenance', onHost);
  return {
    greeting: `${host.url}${ROOT}\npoint an agent at it:\n[source.gce]\nbase_url = "${host.url}"`,
    host,
    obey: (verb, words) => obey(host, verb, words),
  };
}

function obey(host: GceHost, verb: string, [first = '', ...more]: readonly string[]): boolean {
  const rest = more.length === 0 ? undefined : more.join(' ');
  if (verb === 'preempt') host.preempt();
  else if (verb === 'stop') host.stopping(first === '' ? undefined : { requestMs: Date.now(), seconds: Number(first) });
  else if (first === '') return false;
  else if (verb === 'maintenance') host.maintenance(first);
  else if (verb === 'upcoming' && first === 'gone') host.upcoming(undefined);
  else if (verb === 'upcoming' && first === 'none') host.upcoming({});
  else if (verb === 'upcoming' && Number.isFinite(Number(first))) host.upcoming(windowIn(Number(first)));
  else if (verb === 'attribute')
    host.attribute(first, rest?.startsWith('+') ? String(Math.floor(Date.now() / 1000) + Number(rest)) : rest);
  else if (verb === 'set') host.set(first, rest);
  else if (verb === 'guest-attributes' && /^(on|403|404)$/.test(first))
    host.guestAttributes(first === '403' ? 403 : first === '404' ? 404 : 'on');
  else return false;
  return true;
}

/** As the service writes it, for a window of four hours. */
export function windowIn(secs: number): Readonly<Record<string, unknown>> {
  const at = (later: number) => new Date(Date.now() + (secs + later) * 1000).toISOString().replace(/\.\d+Z$/, 'Z');
  return {
    can_reschedule: 'true',
    latest_window_start_time: at(0),
    maintenance_status: 'PENDING',
    type: 'SCHEDULED',
    window_end_time: at(14_400),
    window_start_time: at(0),
  };
}

function oneOf<T extends string>(given: string, allowed: readonly T[]): T {
  const found = allowed.find((each) => each === given);
  if (found === undefined) throw new Error(`expected one of ${allowed.join(', ')}, got ${given}`);
  return found;
}
