/**
 * Stand-in of OpenStack's metadata service as Nova serves it: dated versions beside `latest`, listings, vendor data, the
 * EC2-compatible tree beside it, a cache of what it looked up. In Vac's style there is one document, spelt with a hyphen.
 */
import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import type { RunningStandIn, StandIn } from './by-hand.ts';
import { type HostAnswer, type MetadataHost, type MetadataHostOptions, startMetadataHost } from './metadata-host.ts';

export interface OpenstackHostOptions extends MetadataHostOptions {
  readonly style?: 'nova' | 'vac';
  /** Which folders there are; default: Nova's eight and `latest`. */
  readonly versions?: readonly string[];
  /** False: `/openstack` is answered with 404. */
  readonly listing?: boolean;
  /** Nova keeps what it looked up for 15 s; default here: not at all. */
  readonly cacheMs?: number;
}

export interface OpenstackHost extends MetadataHost {
  /** `meta.KEY` of meta_data.json; undefined takes it away. */
  meta(key: string, value: unknown): void;
  /** Any other field of it. */
  field(name: string, value: unknown): void;
  /** The static vendor data, whatever the site wrote: `{}` as long as nothing was said. */
  vendor(document: unknown): void;
  /** The dynamic one: what this service of the site says of this machine. */
  vendor2(service: string, document: unknown): void;
  /** This machine is not found for a while: its port has moved, a proxy has lost it. */
  setFound(found: boolean): void;
  /** The same documents as on a config drive, below `dir`. */
  writeDrive(dir: string): void;
}

export const NOVA_VERSIONS = [
  '2012-08-10',
  '2013-04-04',
  '2013-10-17',
  '2015-10-15',
  '2016-06-30',
  '2016-10-06',
  '2017-02-22',
  '2018-08-27',
  'latest',
] as const;
export const UUID = '83679162-1378-4288-a2d4-70e13ec132aa';
/** From when on there is vendor data of either kind. */
const FIRST_VENDOR = '2013-10-17';
const FIRST_VENDOR2 = '2016-10-06';
const NOT_FOUND: HostAnswer = {
  status: 404,
  headers: { 'content-type': 'text/html; charset=UTF-8' },
  body: '<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  <h1>404 Not Found</h1>\n </body>\n</html>',
};

/** Starts with a machine of which the site says nothing. */
export async function startOpenstackHost(options: OpenstackHostOptions = {}): Promise<OpenstackHost> {
  const {
    style = 'nova',
    versions = style === 'vac' ? ['latest'] : NOVA_VERSIONS,
    listing = style === 'nova',
  } = options;
  const meta = new Map<string, unknown>();
  const fields = new Map<string, unknown>(
    style === 'vac'
      ? []
      : [
          ['uuid', UUID],
          ['name', 'pilot-17'],
          ['hostname', 'pilot-17.novalocal'],
          ['launch_index', 0],
          ['availability_zone', 'nova'],
          ['project_id', 'f7ac731cc11f40efbc03a9f9e1d1d21f'],
          ['random_seed', 'yu5ZnkqF2CqnDZVAfZgarG4rSZnMw=='],
          ['keys', [{ data: 'ssh-ed25519 AAAA', type: 'ssh', name: 'site' }]],
          ['devices', []],
          ['dedicated_cpus', []],
        ],
  );
  const vendor2 = new Map<string, unknown>([['static', {}]]);
  let vendor: unknown = {};
  let found = true;
  let cached: { readonly untilMs: number; readonly files: Readonly<Record<string, string>> } | undefined;

  function files(): Readonly<Record<string, string>> {
    if (cached !== undefined && Date.now() < cached.untilMs) return cached.files;
    const document = JSON.stringify({ ...Object.fromEntries(fields), meta: Object.fromEntries(meta) });
    const made: Readonly<Record<string, string>> =
      style === 'vac'
        ? { 'meta-data.json': document, 'user-data': '#!/bin/sh\n' }
        : {
            'meta_data.json': document,
            user_data: '#!/bin/sh\n',
            'vendor_data.json': JSON.stringify(vendor),
            'vendor_data2.json': JSON.stringify(Object.fromEntries(vendor2)),
            'network_data.json': '{"links":[],"networks":[],"services":[]}',
          };
    cached = { untilMs: Date.now() + (options.cacheMs ?? 0), files: made };
    return made;
  }

  const has = (version: string, name: string): boolean =>
    version === 'latest' ||
    version >= (name === 'vendor_data2.json' ? FIRST_VENDOR2 : name === 'vendor_data.json' ? FIRST_VENDOR : '');
  const text = (body: string, type = 'text/plain; charset=UTF-8'): HostAnswer => ({
    status: 200,
    headers: { 'content-type': type, 'content-length': String(Buffer.byteLength(body)) },
    body,
  });

  const host = await startMetadataHost(options, ({ method, path: asked }) => {
    if (method !== 'GET') return { status: 405 };
    if (!found) return NOT_FOUND;
    const [tree, version = '', name = '', ...rest] = asked.split('/').filter((part) => part !== '');
    if (tree === 'latest' && version === 'meta-data' && name === 'instance-id') return text('i-000004d2');
    if (tree !== 'openstack' || rest.length > 0) return NOT_FOUND;
    if (version === '') return listing ? text(versions.join('\n')) : NOT_FOUND;
    if (!versions.includes(version)) return NOT_FOUND;
    const there = Object.entries(files()).filter(([each]) => has(version, each));
    if (name === '') return text(there.map(([each]) => each).join('\n'));
    const content = there.find(([each]) => each === name)?.[1];
    return content === undefined ? NOT_FOUND : text(content, 'application/json');
  });

  const put = (into: Map<string, unknown>, key: string, value: unknown): void =>
    void (value === undefined ? into.delete(key) : into.set(key, value));
  return {
    ...host,
    meta: (key, value) => put(meta, key, value),
    field: (name, value) => put(fields, name, value),
    vendor(document) {
      vendor = document;
    },
    vendor2: (service, document) => put(vendor2, service, document),
    setFound(is) {
      found = is;
    },
    writeDrive(dir) {
      for (const version of versions) {
        fs.mkdirSync(path.join(dir, 'openstack', version), { recursive: true });
        for (const [name, content] of Object.entries(files()))
          if (has(version, name)) fs.writeFileSync(path.join(dir, 'openstack', version, name), content);
      }
    },
  };
}

const HELP = `  --style nova|vac   --cache SECS (Nova: 15)   --meta KEY=VALUE …
  commands on stdin:
    meta KEY=VALUE   unmeta KEY          (VALUE +N means: N seconds from now, as UNIX time)
    field NAME=VALUE   unfield NAME      e.g. unfield uuid
    vendor JSON                          vendor_data.json
    vendor2 SERVICE JSON                 vendor_data2.json
    machine lost|found                   404 for everything
    drive DIR                            writes the documents as on a config drive
`;

export const standIn: StandIn = { help: HELP, start };

async function start(args: readonly string[]): Promise<RunningStandIn> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      port: { type: 'string' },
      address: { type: 'string' },
      style: { type: 'string' },
      cache: { type: 'string' },
      meta: { type: 'string', multiple: true },
    },
  });
  const { style = 'nova' } = values;
  if (style !== 'nova' && style !== 'vac') throw new Error('--style: nova or vac');
  const host = await startOpenstackHost({
    port: Number(values.port ?? 0),
    ...(values.address === undefined ? {} : { address: values.address }),
    style,
    cacheMs: Number(values.cache ?? 0) * 1000,
  });
  for (const pair of values.meta ?? []) assign(pair, host.meta);
  return {
    greeting: `${host.url}/openstack/latest/\nto point an agent at it:\n[source.openstack]\nbase_url = "${host.url}"\npoll = "2s"\n`,
    host,
    obey: (verb, words, line) => obey(host, verb, words, line),
  };
}

function obey(host: OpenstackHost, verb: string, [first = '', second]: readonly string[], line: string): boolean {
  const rest = line.slice(verb.length).trim();
  if (first === '') return false;
  switch (verb) {
    case 'meta':
      return assign(rest, host.meta);
    case 'unmeta':
      host.meta(first, undefined);
      return true;
    case 'field':
      return assign(rest, host.field);
    case 'unfield':
      host.field(first, undefined);
      return true;
    case 'vendor':
      return withJson(rest, host.vendor);
    case 'vendor2':
      return second !== undefined && withJson(rest.slice(first.length), (value) => host.vendor2(first, value));
    case 'machine':
      host.setFound(first === 'found');
      return first === 'found' || first === 'lost';
    case 'drive':
      host.writeDrive(rest);
      return true;
    default:
      return false;
  }
}

function assign(pair: string, set: (key: string, value: string) => void): boolean {
  const [, key, value = ''] = /^([^=]+)=(.*)$/.exec(pair) ?? [];
  if (key === undefined) return false;
  set(key, /^\+\d+$/.test(value) ? String(Math.floor(Date.now() / 1000) + Number(value)) : value);
  return true;
}

function withJson(text: string, take: (value: unknown) => void): boolean {
  try {
    take(JSON.parse(text));
    return true;
  } catch {
    return false;
  }
}
