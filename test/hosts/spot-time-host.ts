/** What the stand-ins of Alibaba and Tencent have in common: a tree of texts, one of which is the time of the end. */
import { parseArgs } from 'node:util';
import type { StandIn } from './by-hand.ts';
import { type AskedRequest, type HostAnswer, type MetadataHost, startMetadataHost } from './metadata-host.ts';

export interface SpotTimeHostOptions {
  readonly port?: number;
  readonly address?: string;
}

export interface SpotTimeHost extends MetadataHost {
  /** A text below `/latest/meta-data/`; undefined: 404. */
  set(path: string, text: string | undefined): void;
  /** The machine is taken back at this time (UNIX ms), written as the platform writes it; undefined: it is not. */
  takeBack(atMs: number | undefined): void;
  /** On each question the time is so long from then, as a simulator has it. */
  takeBackAlwaysIn(ms: number): void;
}

interface Service {
  readonly name: string;
  readonly texts: Readonly<Record<string, string>>;
  readonly spotPath: string;
  /** The time as the platform writes it. */
  write(ms: number): string;
  /** What is asked before the tree: tokens. */
  readonly before?: (request: AskedRequest) => HostAnswer | undefined;
}

const ROOT = '/latest/meta-data/';

export async function startSpotTimeHost(options: SpotTimeHostOptions, service: Service): Promise<SpotTimeHost> {
  const texts = new Map(Object.entries(service.texts));
  let alwaysInMs: number | undefined;

  const host = await startMetadataHost(options, (request) => {
    const early = service.before?.(request);
    if (early !== undefined) return early;
    const path = request.path.slice(ROOT.length);
    const text =
      path === service.spotPath && alwaysInMs !== undefined ? service.write(Date.now() + alwaysInMs) : texts.get(path);
    if (request.method !== 'GET') return { status: 405 };
    if (!request.path.startsWith(ROOT) || text === undefined)
      return {
        status: 404,
        headers: { 'content-type': 'text/html' },
        body: '<html><title>404 - Not Found</title></html>',
      };
    return { status: 200, headers: { 'content-type': 'text/plain' }, body: text };
  });
  const set = (path: string, text: string | undefined): void =>
    void (text === undefined ? texts.delete(path) : texts.set(path, text));
  return {
    ...host,
    set,
    takeBack(atMs) {
      alwaysInMs = undefined;
      set(service.spotPath, atMs === undefined ? undefined : service.write(atMs));
    },
    takeBackAlwaysIn(ms) {
      alwaysInMs = ms;
    },
  };
}

/** By hand; `more` are commands of the platform's own. */
export function spotTimeStandIn<Host extends SpotTimeHost>(
  name: string,
  start: (options: SpotTimeHostOptions) => Promise<Host>,
  more: { readonly help: string; obey(host: Host, verb: string, word: string): boolean },
): StandIn {
  return {
    help: `  take SECS          the machine is taken back so long from now
  take always SECS   the same on every question, as simulators have it
  keep               it is not taken back
  set PATH TEXT      below ${ROOT}; without TEXT: 404
${more.help}`,
    async start(args) {
      const { values } = parseArgs({
        args: [...args],
        options: { port: { type: 'string' }, address: { type: 'string' } },
      });
      const host = await start({
        port: Number(values.port ?? 0),
        ...(values.address === undefined ? {} : { address: values.address }),
      });
      return {
        greeting: `${host.url}${ROOT}\n[source.${name}]\nbase_url = "${host.url}"`,
        host,
        obey(verb, [first = '', ...rest]) {
          const always = verb === 'take' && first === 'always';
          const secs = Number((always ? rest[0] : first) || 'x');
          if (verb === 'take' && !Number.isFinite(secs)) return false;
          if (always) host.takeBackAlwaysIn(secs * 1000);
          else if (verb === 'take') host.takeBack(Date.now() + secs * 1000);
          else if (verb === 'keep') host.takeBack(undefined);
          else if (verb === 'set' && first !== '') host.set(first, rest.length === 0 ? undefined : rest.join(' '));
          else return more.obey(host, verb, first);
          return true;
        },
      };
    },
  };
}
