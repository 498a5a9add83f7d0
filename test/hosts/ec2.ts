/**
 * A stand-in for EC2's instance metadata service (facts "platforms", "AWS EC2"): session tokens that expire, 404 where
 * nothing is announced, listings, `[]` for no events, and the simulator that says "in two minutes" on every GET.
 */
import { randomBytes } from 'node:crypto';
import { parseArgs } from 'node:util';
import type { RunningStandIn, StandIn } from './by-hand.ts';
import {
  type AskedRequest,
  type HostAnswer,
  type MetadataHost,
  type MetadataHostOptions,
  startMetadataHost,
} from './metadata-host.ts';

export type TokenMode = 'required' | 'optional' | 'none';

export interface Ec2HostOptions extends MetadataHostOptions {
  /** `required`: IMDSv2 alone (the default of newer images); `none`: a service without tokens. Default `optional`. */
  readonly tokens?: TokenMode;
  readonly lifeCycle?: string;
  readonly instanceId?: string;
  readonly tags?: Readonly<Record<string, string>>;
  /** Some imitations serve the keys and list nothing. */
  readonly tagListing?: boolean;
}

/** As the service writes them; times in UNIX ms. */
export interface ScheduledEvent {
  readonly id: string;
  readonly code: string;
  readonly notBeforeMs: number;
  readonly notAfterMs?: number;
  readonly description?: string;
  readonly state?: string;
  /** Fields that this service might have one day. */
  readonly more?: Readonly<Record<string, unknown>>;
}

export interface Ec2Host extends MetadataHost {
  /** Below `/latest/meta-data/`; undefined removes it. A function is asked on every GET. */
  set(path: string, body: string | (() => string) | undefined): void;
  /** As the platform announces it: `terminate` at both endpoints, everything else at `instance-action` alone. */
  spot(action: string, atMs: number): void;
  /** The simulator: the time is `secs` ahead on every GET, for ever. */
  simulate(action: string, secs?: number): void;
  /** Both endpoints are 404 again. */
  noSpot(): void;
  /** Added or replaced by id. The list is `[]` at first. */
  event(event: ScheduledEvent): void;
  /** It stays listed, as the service does it; false where there is none. */
  eventOver(id: string, how: 'Canceled' | 'Completed'): boolean;
  removeEvent(id: string): void;
  /** undefined removes it. With no tag ever given, tags are not enabled: 404. */
  tag(key: string, value: string | undefined): void;
  /** From now on no token that was given is good: 401. */
  expireTokens(): void;
  setTokens(mode: TokenMode): void;
  /** The owner turned the metadata service off: 403 for everything. */
  turnOff(off: boolean): void;
  /** Every token that was ever given. */
  readonly tokensGiven: readonly string[];
}

const TTL_HEADER = 'x-aws-ec2-metadata-token-ttl-seconds';
const TOKEN_HEADER = 'x-aws-ec2-metadata-token';
const LONGEST_TTL_SECS = 21_600;
const SIMULATED_SECS = 120;
export const TOKEN_PATH = '/latest/api/token';
export const META = '/latest/meta-data';

const TEXT = { 'content-type': 'text/plain', server: 'EC2ws' };
const page = (status: number, title: string): HostAnswer => ({
  status,
  headers: { 'content-type': 'text/html', server: 'EC2ws' },
  body: `<?xml version="1.0" encoding="iso-8859-1"?>\n<html><head><title>${status} - ${title}</title></head><body><h1>${status} - ${title}</h1></body></html>\n`,
});
const text = (body: string): HostAnswer => ({ status: 200, headers: TEXT, body });

/** `2017-09-18T08:22:00Z` */
export const isoSecs = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`;

/** `21 Jan 2019 09:00:43 GMT`, `1 Feb 2019 …`: the day is not padded. */
export function eventTime(ms: number): string {
  const [, day = '', ...others] = new Date(ms).toUTCString().split(' ');
  return [String(Number(day)), ...others].join(' ');
}

/** Listens on a free port of 127.0.0.1 unless told otherwise. */
export async function startEc2Host(options: Ec2HostOptions = {}): Promise<Ec2Host> {
  const values = new Map<string, string | (() => string)>([
    ['instance-id', options.instanceId ?? 'i-0a1b2c3d4e5f67890'],
    ['instance-type', 'm5.large'],
    ['instance-life-cycle', options.lifeCycle ?? 'on-demand'],
    ['placement/availability-zone', 'eu-central-1a'],
  ]);
  const events = new Map<string, ScheduledEvent>();
  const tags = new Map(Object.entries(options.tags ?? {}));
  let tagsEnabled = tags.size > 0;
  let tokens = options.tokens ?? 'optional';
  let off = false;
  const good = new Map<string, number>();
  const tokensGiven: string[] = [];

  values.set('events/maintenance/scheduled', () => JSON.stringify([...events.values()].map(asWritten), null, 2));
  values.set('events/maintenance/history', '[]');

  function giveToken({ headers }: AskedRequest): HostAnswer {
    if (headers['x-forwarded-for'] !== undefined) return page(403, 'Forbidden');
    const secs = Number(headers[TTL_HEADER]);
    if (!Number.isInteger(secs) || secs < 1 || secs > LONGEST_TTL_SECS) return page(400, 'Bad Request');
    const token = `${randomBytes(39).toString('base64url')}==`;
    tokensGiven.push(token);
    good.set(token, performance.now() + secs * 1000);
    return { status: 200, headers: { ...TEXT, [TTL_HEADER]: String(secs) }, body: token };
  }

  function isAuthorized({ headers }: AskedRequest): boolean {
    const token = headers[TOKEN_HEADER];
    if (tokens === 'none') return true;
    if (token === undefined) return tokens === 'optional';
    // Two headers arrive joined and are no token.
    return typeof token === 'string' && performance.now() < (good.get(token) ?? 0);
  }

  function answer(request: AskedRequest): HostAnswer {
    if (off) return page(403, 'Forbidden');
    const [, path] = /^\/(?:latest|\d{4}-\d{2}-\d{2})\/(.*)$/.exec(request.path) ?? [];
    if (path === undefined) return request.path === '/' ? text('1.0\n2021-07-15\nlatest') : page(404, 'Not Found');
    if (path === 'api/token' && tokens !== 'none')
      return request.method === 'PUT' ? giveToken(request) : page(405, 'Not Allowed');
    if (request.method !== 'GET') return page(405, 'Not Allowed');
    if (!isAuthorized(request)) return page(401, 'Unauthorized');
    const below = /^meta-data(?:\/(.*))?$/.exec(path);
    return below === null ? page(404, 'Not Found') : metaData(below[1] ?? '');
  }

  function metaData(path: string): HostAnswer {
    if (path === 'tags/instance' || path.startsWith('tags/instance/'))
      return tagged(path.slice('tags/instance/'.length));
    const value = values.get(path);
    if (value !== undefined) return text(typeof value === 'string' ? value : value());
    const folder = path === '' || path.endsWith('/') ? path : `${path}/`;
    const names = [...values.keys()].filter((each) => each.startsWith(folder)).map((each) => each.slice(folder.length));
    const shown = new Set(names.map((name) => (name.includes('/') ? `${name.slice(0, name.indexOf('/'))}/` : name)));
    return shown.size === 0 ? page(404, 'Not Found') : text([...shown].sort().join('\n'));
  }

  function tagged(encoded: string): HostAnswer {
    if (!tagsEnabled) return page(404, 'Not Found');
    if (encoded === '')
      return options.tagListing === false ? page(404, 'Not Found') : text([...tags.keys()].join('\n'));
    const value = tags.get(decodeURIComponent(encoded));
    return value === undefined ? page(404, 'Not Found') : text(value);
  }

  const host = await startMetadataHost(options, answer);
  const set: Ec2Host['set'] = (path, body) => void (body === undefined ? values.delete(path) : values.set(path, body));
  const spotFrom = (action: string, atMs: () => number): void => {
    set('spot/instance-action', () => JSON.stringify({ action, time: isoSecs(atMs()) }));
    set('spot/termination-time', action === 'terminate' ? () => isoSecs(atMs()) : undefined);
  };

  return {
    ...host,
    set,
    spot: (action, atMs) => spotFrom(action, () => atMs),
    simulate: (action, secs = SIMULATED_SECS) => spotFrom(action, () => Date.now() + secs * 1000),
    noSpot() {
      set('spot/instance-action', undefined);
      set('spot/termination-time', undefined);
    },
    event: (event) => void events.set(event.id, event),
    eventOver(id, how) {
      const event = events.get(id);
      if (event === undefined) return false;
      const description = `[${how}] ${event.description ?? DESCRIPTION}`;
      events.set(id, { ...event, description, state: how.toLowerCase() });
      return true;
    },
    removeEvent: (id) => void events.delete(id),
    tag(key, value) {
      tagsEnabled = true;
      if (value === undefined) tags.delete(key);
      else tags.set(key, value);
    },
    expireTokens: () => good.clear(),
    setTokens(mode) {
      tokens = mode;
    },
    turnOff(to) {
      off = to;
    },
    tokensGiven,
  };
}

const DESCRIPTION = 'The instance is running on degraded hardware';

const asWritten = (event: ScheduledEvent): Readonly<Record<string, unknown>> => ({
  NotBefore: eventTime(event.notBeforeMs),
  Code: event.code,
  Description: event.description ?? DESCRIPTION,
  EventId: event.id,
  ...(event.notAfterMs === undefined ? {} : { NotAfter: eventTime(event.notAfterMs) }),
  State: event.state ?? 'active',
  ...event.more,
});

const HELP = `  --tokens required|optional|none   --life spot|on-demand|scheduled   --tag KEY=VALUE …   --simulate terminate|stop|hibernate
  commands on stdin:
    spot terminate|stop|hibernate [SECS]   spot off         announced for SECS from now (default ${SIMULATED_SECS})
    simulate terminate|stop|hibernate [SECS]                the time is SECS ahead on every GET
    rebalance on|off                       asg STATE|off    target-lifecycle-state, e.g. Terminated, InService
    event CODE SECS [ID]                                    instance-stop, instance-retirement, system-reboot, …
    over ID Canceled|Completed             unevent ID
    tag KEY=VALUE   untag KEY              (VALUE +N means: N seconds from now, as UNIX time)
    set PATH BODY   unset PATH             any other path below meta-data/
    tokens expire|required|optional|none   imds on|off
`;

export const standIn: StandIn = { help: HELP, start };

async function start(args: readonly string[]): Promise<RunningStandIn> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      port: { type: 'string' },
      address: { type: 'string' },
      tokens: { type: 'string' },
      life: { type: 'string' },
      tag: { type: 'string', multiple: true },
      simulate: { type: 'string' },
    },
  });
  const { tokens } = values;
  if (tokens !== undefined && !isTokenMode(tokens)) throw new Error('--tokens: required, optional or none');
  const host = await startEc2Host({
    port: Number(values.port ?? 0),
    ...(values.address === undefined ? {} : { address: values.address }),
    ...(tokens === undefined ? {} : { tokens }),
    ...(values.life === undefined ? {} : { lifeCycle: values.life }),
  });
  for (const pair of values.tag ?? []) setTag(host, pair);
  if (values.simulate !== undefined) host.simulate(values.simulate);
  return {
    greeting: `${host.url}${META}/\nto point an agent at it:\n[source.ec2]\nbase_url = "${host.url}"\n`,
    host,
    obey: (verb, words, line) => obey(host, verb, words, line),
  };
}

let nextEvent = 1;

function obey(host: Ec2Host, verb: string, [first = '', second, third]: readonly string[], line: string): boolean {
  const secs = Number(second ?? SIMULATED_SECS);
  if (first === '' || Number.isNaN(verb === 'spot' || verb === 'simulate' || verb === 'event' ? secs : 0)) return false;
  switch (verb) {
    case 'spot':
      if (first === 'off') host.noSpot();
      else host.spot(first, Date.now() + secs * 1000);
      return true;
    case 'simulate':
      host.simulate(first, secs);
      return true;
    case 'rebalance':
      host.set('events/recommendations/rebalance', first === 'on' ? rebalanceNow() : undefined);
      return first === 'on' || first === 'off';
    case 'asg':
      host.set('autoscaling/target-lifecycle-state', first === 'off' ? undefined : first);
      return true;
    case 'event':
      host.event({ id: third ?? `instance-event-${nextEvent++}`, code: first, notBeforeMs: Date.now() + secs * 1000 });
      return true;
    case 'over':
      if (second !== 'Canceled' && second !== 'Completed') return false;
      return host.eventOver(first, second);
    case 'unevent':
      host.removeEvent(first);
      return true;
    case 'tag':
      return setTag(host, line.slice('tag'.length).trim());
    case 'untag':
      host.tag(first, undefined);
      return true;
    case 'set':
      host.set(first, line.slice(line.indexOf(first) + first.length).trim());
      return true;
    case 'unset':
      host.set(first, undefined);
      return true;
    case 'tokens':
      if (first === 'expire') host.expireTokens();
      else if (isTokenMode(first)) host.setTokens(first);
      else return false;
      return true;
    case 'imds':
      host.turnOff(first === 'off');
      return first === 'on' || first === 'off';
    default:
      return false;
  }
}

const rebalanceNow = (): string => JSON.stringify({ noticeTime: isoSecs(Date.now()) });

function setTag(host: Ec2Host, pair: string): boolean {
  const [, key, value = ''] = /^([^=]+)=(.*)$/.exec(pair) ?? [];
  if (key === undefined) return false;
  host.tag(key, /^\+\d+$/.test(value) ? String(Math.floor(Date.now() / 1000) + Number(value)) : value);
  return true;
}

const isTokenMode = (word: string): word is TokenMode => ['required', 'optional', 'none'].includes(word);
