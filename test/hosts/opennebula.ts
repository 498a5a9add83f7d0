/**
 * Stand-in of OpenNebula: OneGate (`GET` and `PUT /vm` with the machine's number and token as headers), and the context that
 * such a machine is started with. Like the real server it gives 404 for whatever its question to the front-end failed of,
 * and what is `PUT` it reads by the rules of OpenNebula's own parser, odd as they are.
 */
import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import type { RunningStandIn, StandIn } from './by-hand.ts';
import {
  type AskedRequest,
  type HostAnswer,
  type MetadataHost,
  type MetadataHostOptions,
  startMetadataHost,
} from './metadata-host.ts';

export interface OpennebulaHostOptions extends MetadataHostOptions {
  readonly vmId?: string;
  readonly onTold?: (name: string, value: string) => void;
}

export interface OpennebulaHost extends MetadataHost {
  readonly vmId: string;
  /** What is accepted now. */
  token(): string;
  /** Another token from now on; the old one is refused. */
  renewToken(): void;
  /** 3 RUNNING, 12 SHUTDOWN, 18 SHUTDOWN_POWEROFF, 29 SHUTDOWN_UNDEPLOY, … */
  lcmState(state: number | string | undefined): void;
  /** A value of USER_TEMPLATE; undefined takes it away. */
  user(name: string, value: unknown): void;
  /** As of the last `PUT /vm` and of `user`. */
  userTemplate(): Readonly<Record<string, unknown>>;
  /** Whose machine the answer is about. */
  answerFor(vmId: string): void;
  /** `permissions: vm: show: false` of onegate-server.conf: 403. */
  restrict(restricted: boolean): void;
  /** The front-end does not answer the server's question: 404. */
  setFrontEnd(alive: boolean): void;
  /** `context.sh` and `token.txt` as on the context ISO, with the token of now. */
  writeContext(dir: string, more?: Readonly<Record<string, string>>): void;
}

const RUNNING = '3';
const STATE_ACTIVE = '3';

/** Starts with a running machine. */
export async function startOpennebulaHost(options: OpennebulaHostOptions = {}): Promise<OpennebulaHost> {
  const { vmId = '17' } = options;
  const template = new Map<string, unknown>([
    ['ERROR', ''],
    ['LOGO', 'images/logos/debian.png'],
    ['SCHED_REQUIREMENTS', 'CLUSTER_ID="0"'],
  ]);
  let generation = 1;
  let state: number | string | undefined = RUNNING;
  let answersFor = vmId;
  let restricted = false;
  let frontEnd = true;
  const token = (): string => Buffer.from(`token ${generation} of machine ${vmId}`).toString('base64');

  const vm = (): Readonly<Record<string, unknown>> => ({
    NAME: `pilot-${answersFor}`,
    ID: answersFor,
    STATE: STATE_ACTIVE,
    ...(state === undefined ? {} : { LCM_STATE: String(state) }),
    USER_TEMPLATE: Object.fromEntries(template),
    TEMPLATE: { NIC: [{ IP: '10.0.0.17', MAC: '02:00:0a:00:00:11', NETWORK: 'private' }] },
  });

  function take(body: string): HostAnswer {
    const pairs = parseTemplate(body);
    if (pairs === undefined) return { status: 500, body: 'Cannot update virtual machine template: syntax error' };
    for (const [name, value] of pairs) {
      template.set(name.toUpperCase(), value);
      options.onTold?.(name.toUpperCase(), value);
    }
    return { status: 200, body: '' };
  }

  function answer({ method, path: asked, headers, body }: AskedRequest): HostAnswer {
    const type = { 'content-type': 'application/json;charset=utf-8' };
    if (asked !== '/vm' || (method !== 'GET' && method !== 'PUT')) return { status: 404, headers: type, body: '' };
    if (restricted) return { status: 403, headers: type, body: `Action (${method}) on resource (vm) not supported` };
    if (headers['x-onegate-token'] !== token() || headers['x-onegate-vmid'] !== vmId)
      return { status: 401, headers: type, body: 'Not authorized' };
    if (!frontEnd) return { status: 404, headers: type, body: 'Connection refused - connect(2)' };
    return method === 'PUT' ? take(body) : { status: 200, headers: type, body: JSON.stringify({ VM: vm() }) };
  }

  const host = await startMetadataHost(options, answer);
  return {
    ...host,
    vmId,
    token,
    renewToken() {
      generation += 1;
    },
    lcmState(next) {
      state = next;
    },
    user: (name, value) => void (value === undefined ? template.delete(name) : template.set(name, value)),
    userTemplate: () => Object.fromEntries(template),
    answerFor(id) {
      answersFor = id;
    },
    restrict(is) {
      restricted = is;
    },
    setFrontEnd(alive) {
      frontEnd = alive;
    },
    writeContext(dir, more = {}) {
      fs.mkdirSync(dir, { recursive: true });
      const variables = {
        DISK_ID: '1',
        ETH0_IP: '10.0.0.17',
        NETWORK: 'YES',
        ONEGATE_ENDPOINT: host.url,
        SSH_PUBLIC_KEY: "ssh-ed25519 AAAA it's me\nssh-ed25519 BBBB",
        TARGET: 'hda',
        VMID: vmId,
        ...more,
      };
      fs.writeFileSync(path.join(dir, 'context.sh'), contextText(variables));
      fs.writeFileSync(path.join(dir, 'token.txt'), `${token()}\n`, { mode: 0o600 });
    },
  };
}

/**
 * Single values as OpenNebula's template parser takes them: the longest text from quote to quote in which each quote has a
 * backslash before it, over lines too, and nothing but `\"` is an escape. Undefined for a syntax error.
 */
export function parseTemplate(text: string): readonly (readonly [name: string, value: string])[] | undefined {
  const pairs: (readonly [string, string])[] = [];
  const attribute = /[ \t\n]*([A-Za-z0-9_]+)[ \t]*=[ \t]*(?:"((?:\\"|[^"])*)"|([^=#\s,[\]"]+)|(?=\n))/y;
  let at = 0;
  while (text.slice(at).trim() !== '') {
    attribute.lastIndex = at;
    const [whole, name = '', quoted, plain = ''] = attribute.exec(text) ?? [];
    if (whole === undefined || whole.includes(']]>')) return undefined;
    at += whole.length;
    pairs.push([name, quoted === undefined ? plain : quoted.replaceAll('\\"', '"')]);
  }
  return pairs;
}

/** As OpenNebula writes it. */
export const contextText = (variables: Readonly<Record<string, string>>): string =>
  [
    '# Context variables generated by OpenNebula',
    ...Object.entries(variables).map(([name, value]) => `${name}='${value.replaceAll("'", "'\\''")}'`),
    '',
  ].join('\n');

const HELP = `  --vmid N   --context DIR (writes context.sh and token.txt there)   --set NAME=VALUE … (into context.sh)
  commands on stdin:
    lcm STATE                          3 running, 12 shutdown, 18 poweroff, 29 undeploy
    user NAME=VALUE   unuser NAME      (VALUE +N means: N seconds from now, as UNIX time)
    token renew|write                  another token; tell it to the machine (needs --context)
    restrict on|off                    403 for everything
    frontend up|down                   404 for everything
  Prints what the machine tells it.
`;

export const standIn: StandIn = { help: HELP, start };

async function start(args: readonly string[]): Promise<RunningStandIn> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      port: { type: 'string' },
      address: { type: 'string' },
      vmid: { type: 'string' },
      context: { type: 'string' },
      set: { type: 'string', multiple: true },
    },
  });
  const host = await startOpennebulaHost({
    port: Number(values.port ?? 0),
    ...(values.address === undefined ? {} : { address: values.address }),
    ...(values.vmid === undefined ? {} : { vmId: values.vmid }),
    onTold: (name, value) => void process.stdout.write(`told: ${name} = ${value}\n`),
  });
  const pairs = (values.set ?? []).map(pairOf).filter((pair) => pair !== undefined);
  const write = (): boolean => {
    if (values.context === undefined) return false;
    host.writeContext(values.context, Object.fromEntries(pairs));
    return true;
  };
  write();
  const how =
    values.context === undefined
      ? 'an agent needs the context too: start with --context DIR'
      : `to point an agent at it:\n[source.opennebula]\ncontext = "${path.resolve(values.context)}"\npoll = "2s"`;
  return {
    greeting: `${host.url}/vm\nX-ONEGATE-VMID: ${host.vmId}\nX-ONEGATE-TOKEN: ${host.token()}\n${how}\n`,
    host,
    obey: (verb, words, line) => obey(host, write, verb, words, line),
  };
}

function obey(
  host: OpennebulaHost,
  write: () => boolean,
  verb: string,
  [first = '']: readonly string[],
  line: string,
): boolean {
  switch (verb) {
    case 'lcm':
      host.lcmState(first);
      return first !== '';
    case 'user': {
      const pair = pairOf(line.slice(verb.length).trim());
      if (pair !== undefined) host.user(pair[0], pair[1]);
      return pair !== undefined;
    }
    case 'unuser':
      host.user(first, undefined);
      return first !== '';
    case 'token':
      if (first === 'write') return write();
      host.renewToken();
      return first === 'renew';
    case 'restrict':
      host.restrict(first === 'on');
      return first === 'on' || first === 'off';
    case 'frontend':
      host.setFrontEnd(first === 'up');
      return first === 'up' || first === 'down';
    default:
      return false;
  }
}

function pairOf(text: string): readonly [string, string] | undefined {
  const [, name, value = ''] = /^([^=\s]+)=(.*)$/.exec(text) ?? [];
  if (name === undefined) return undefined;
  return [name, /^\+\d+$/.test(value) ? String(Math.floor(Date.now() / 1000) + Number(value)) : value];
}
