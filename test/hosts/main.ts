/** Stand-in hosts by hand: `npm run host -- mjf --port 8080 --set machinefeatures/total_cpu=8`; commands on stdin. */
import fs from 'node:fs';
import readline from 'node:readline';
import { parseArgs } from 'node:util';
import type { StandIn } from './by-hand.ts';
import { type Fault, type HostSide, type MjfHost, startMjfHost } from './mjf.ts';
import { SIMPLE_FAULTS } from './mjf-faults.ts';

const HELP = `usage: npm run host -- mjf [--port N] [--address A] [--style vac|vcycle] [--listing html|text|none|front]
                          [--validators etag|last-modified] [--tls-cert FILE --tls-key FILE [--tls-ca FILE]]
                          [--set machinefeatures/KEY=VALUE]...
commands on stdin:
  set machinefeatures/KEY=VALUE   set jobfeatures/KEY=VALUE   (VALUE +N means: N seconds from now)
  unset jobfeatures/KEY
  fault PATH|* NAME               NAME: ${SIMPLE_FAULTS.join(', ')}, redirect, or a status such as 503
  fault PATH|* off
  drop                            breaks all connections
  quit
`;

/** To add one: a file with a `StandIn` and a line here. */
const STAND_INS: Readonly<Record<string, () => Promise<{ readonly standIn: StandIn }>>> = {
  ec2: () => import('./ec2.ts'),
  gce: () => import('./gce.ts'),
  azure: () => import('./azure.ts'),
  openstack: () => import('./openstack.ts'),
  opennebula: () => import('./opennebula.ts'),
  alibaba: () => import('./alibaba.ts'),
  tencent: () => import('./tencent.ts'),
  oracle: () => import('./oracle.ts'),
  vmware: () => import('./vmware.ts'),
  logind: () => import('./logind.ts'),
  webhook: () => import('./webhook.ts'),
};
const HOSTS: Readonly<Record<string, (args: string[]) => Promise<void>>> = {
  mjf: runMjf,
  ...Object.fromEntries(
    Object.entries(STAND_INS).map(([name, load]) => [name, (args: string[]) => runStandIn(load, args)]),
  ),
};

const run = HOSTS[process.argv[2] ?? ''];
if (run === undefined) {
  process.stderr.write(HELP);
  for (const [name, load] of Object.entries(STAND_INS))
    process.stderr.write(`\nnpm run host -- ${name} [--port N] [--address A] …\n${(await load()).standIn.help}`);
  process.stderr.write(
    `\nevery one but mjf also takes on stdin: fault PATH|* NAME [TIMES] · fault PATH|* off · drop · clock SECS · quit\n`,
  );
  process.exitCode = 2;
} else {
  run(process.argv.slice(3)).catch((error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  });
}

async function runStandIn(load: () => Promise<{ readonly standIn: StandIn }>, args: string[]): Promise<void> {
  const { standIn } = await load();
  const { greeting, host, obey } = await standIn.start(args);
  process.stdout.write(`${greeting.trimEnd()}\n`);
  const stop = () => {
    lines.close();
    void host.close();
  };
  const lines = readline.createInterface({ input: process.stdin });
  lines.on('line', (line) => {
    const [verb = '', ...words] = line.trim().split(/\s+/);
    if (verb === '') return;
    if (verb === 'quit') return stop();
    const [place = '', name = '', times] = words;
    let done = true;
    if (verb === 'drop') host.dropConnections();
    else if (verb === 'clock' && place !== '') host.setClockOffset(Number(place) * 1000);
    else if (verb === 'fault' && name !== '') {
      const fault = faultNamed(name);
      done = fault !== null;
      if (fault !== null) host.fault(place, fault, times === undefined ? undefined : Number(times));
    } else done = obey(verb, words, line.trim());
    process.stdout.write(done ? 'ok\n' : `not understood; this stand-in takes:\n${standIn.help}`);
  });
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
}

async function runMjf(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      port: { type: 'string' },
      address: { type: 'string' },
      style: { type: 'string' },
      listing: { type: 'string' },
      validators: { type: 'string' },
      'tls-cert': { type: 'string' },
      'tls-key': { type: 'string' },
      'tls-ca': { type: 'string' },
      set: { type: 'string', multiple: true },
    },
  });
  const cert = values['tls-cert'];
  const key = values['tls-key'];
  const ca = values['tls-ca'];
  const listing = oneOf(values.listing, ['html', 'text', 'none', 'front']);
  const validators = oneOf(values.validators, ['etag', 'last-modified']);
  const host = await startMjfHost({
    port: Number(values.port ?? 0),
    address: values.address ?? '127.0.0.1',
    style: oneOf(values.style, ['vac', 'vcycle']) ?? 'vac',
    ...(listing && { listing }),
    ...(validators && { validators }),
    ...(cert && key && { tls: { cert: read(cert), key: read(key), ...(ca && { ca: read(ca) }) } }),
  });
  for (const pair of values.set ?? []) obey(host, `set ${pair}`);
  process.stdout.write(`${host.url}/machinefeatures\n${host.url}/jobfeatures\n`);
  const stop = () => {
    lines.close();
    void host.close();
  };
  // The end of stdin is no reason to stop: started in the background it has none.
  const lines = readline.createInterface({ input: process.stdin });
  lines.on('line', (line) => {
    if (line.trim() === 'quit') return stop();
    if (line.trim() !== '') process.stdout.write(`${obey(host, line.trim())}\n`);
  });
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
}

function obey(host: MjfHost, line: string): string {
  const [, verb, place = '', rest] = /^(\w+)\s*([^\s=]*)\s*=?(.*)$/s.exec(line) ?? [];
  const [folder, key = ''] = place.split('/', 2);
  const side: HostSide | undefined =
    folder === 'machinefeatures' ? 'machine' : folder === 'jobfeatures' ? 'job' : undefined;
  if (verb === 'drop') host.dropConnections();
  else if (verb === 'set' && side && key) host.set(side, key, later(rest ?? ''));
  else if (verb === 'unset' && side && key) host.set(side, key, undefined);
  else if (verb === 'fault' && place && rest?.trim()) {
    const fault = faultNamed(rest.trim());
    if (fault === null) return HELP;
    host.fault(place, fault);
  } else return HELP;
  return 'ok';
}

/** undefined = none, null = not understood. */
function faultNamed(name: string): Fault | undefined | null {
  if (name === 'off') return undefined;
  if (/^[2-5]\d\d$/.test(name)) return { is: 'status', status: Number(name) };
  if (name === 'redirect') return { is: 'redirect', to: '/elsewhere' };
  const simple = SIMPLE_FAULTS.find((one) => one === name);
  return simple === undefined ? null : { is: simple };
}

function later(value: string): string {
  return /^\+\d+$/.test(value) ? String(Math.floor(Date.now() / 1000) + Number(value)) : value;
}

function read(file: string): string {
  return fs.readFileSync(file, 'utf8');
}

function oneOf<const T extends string>(value: string | undefined, choices: readonly T[]): T | undefined {
  const found = choices.find((choice) => choice === value);
  if (value !== undefined && found === undefined)
    throw new Error(`expected one of ${choices.join(', ')}, got ${value}`);
  return found;
}
