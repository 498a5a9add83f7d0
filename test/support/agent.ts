/**
 * The built program as a daemon, for tests that judge it from outside: started in directories of its own, awaited by what
 * it logs and publishes, and surely ended. Nothing of the tests' own environment reaches it.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Ended, Ending } from './processes.ts';

export const PROGRAM = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../dist/mjf-agent.cjs');
/** Far beyond anything that is waited for, so that only what never comes runs into it. */
const WAIT_MS = 25_000;
/** One hanging GET; the loop around it asks again. */
const HANG_SECS = 5;
/** How long files may lag behind HTTP, and how often they are looked at. */
const FILES_MS = 3_000;
const LOOK_MS = 5;
/** Nobody's: one below `nobody`, whom the daemon refuses as a caller. */
const PLAIN_UID = 65_533;

export type Side = 'machine' | 'job';
export const FOLDERS = { machine: 'machinefeatures', job: 'jobfeatures' } as const;

export interface LogLine {
  readonly event: string;
  readonly level: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

export interface Feature {
  readonly value: string;
  readonly source: string;
  readonly since: number;
  readonly stale: boolean;
}

/** `/v1/lifetime` as far as tests look into it. */
export interface Lifetime {
  readonly phase: string;
  readonly deadline: number | null;
  readonly grace_secs: number | null;
  readonly drain_at: number | null;
  readonly stop_at: number | null;
  readonly stop_grace_secs: number;
  readonly reason: string | null;
  readonly overdue: boolean;
  readonly termination_allowed: boolean | null;
  readonly notices: readonly {
    readonly id: string;
    readonly source: string;
    readonly kind: string;
    readonly deadline: number | null;
    readonly first_seen: number;
  }[];
  readonly machinefeatures: Readonly<Record<string, Feature>>;
  readonly jobfeatures: Readonly<Record<string, Feature>>;
  readonly sources: readonly {
    readonly name: string;
    readonly state: string;
    readonly since: number;
    readonly error?: string;
    readonly faults?: Readonly<Record<string, string>>;
  }[];
  readonly payloads: { readonly running: number; readonly stopping: number; readonly stopped: number };
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface RequestOptions {
  readonly method?: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** `agent.sock` or `admin.sock` instead of TCP. */
  readonly socket?: 'agent.sock' | 'admin.sock';
}

/** The host's directories, written as a careful host does: beside, then renamed. */
export interface HostDirectories {
  readonly machine: string;
  readonly job: string;
  /** The value and a line feed. */
  set(side: Side, key: string, value: string | number): void;
  /** Exactly these bytes, also in place of something that is no file. */
  write(side: Side, key: string, content: string | Buffer): void;
  remove(side: Side, key: string): void;
}

export interface AgentOptions {
  /** Text of its configuration file. */
  readonly config?: string;
  /** Replaces `--machinefeatures` and `--jobfeatures` with the host's directories. */
  readonly channels?: readonly string[] | ((dir: string) => readonly string[]);
  /** Besides PATH; the function gets the temporary directory. */
  readonly env?: Readonly<Record<string, string>> | ((dir: string) => Readonly<Record<string, string>>);
  readonly machine?: Readonly<Record<string, string | number>>;
  readonly job?: Readonly<Record<string, string | number>>;
  readonly listen?: string;
  /** Runs it under this user and group; everything it writes to is theirs then. */
  readonly uid?: number;
  /** Only that it runs is awaited, neither its listeners nor its sources. */
  readonly unready?: boolean;
}

export interface TestAgent {
  /** Temporary directory that holds all the others. */
  readonly dir: string;
  readonly runtimeDir: string;
  readonly stateDir: string;
  readonly journalDir: string;
  readonly configFile: string;
  readonly hostDirs: HostDirectories;
  /** Base URL of the process that runs now. */
  readonly url: string;
  readonly pid: number;
  /** Everything logged so far, by every process started on these directories. */
  readonly lines: readonly LogLine[];
  /** What it wrote to standard error. */
  readonly complaints: () => string;
  readonly ended: Promise<Ended>;
  /** The first line of this event that was not handed out before, or the next one to come. */
  log(event: string, where?: (line: LogLine) => boolean): Promise<LogLine>;
  request(target: string, options?: RequestOptions): Promise<HttpAnswer>;
  lifetime(): Promise<Lifetime>;
  /** The first document from now on of which `holds` is true, by hanging GETs; the files show it too. */
  until(what: string, holds: (lifetime: Lifetime) => boolean): Promise<Lifetime>;
  /** `what` it read after this call has arrived in the published truth: whatever else stands in its channel was read too. */
  readAgain(): Promise<void>;
  /** Text of a published file, undefined where there is none. */
  file(name: string): string | undefined;
  signal(signal: NodeJS.Signals): void;
  /** SIGTERM, and its end. */
  stop(): Promise<Ended>;
  kill9(): Promise<void>;
  /** The same program on the same directories again. */
  restart(options?: Pick<AgentOptions, 'unready'>): Promise<void>;
}

/** Starts the daemon and waits until it is `ready` and every door of it is open. */
export async function startAgent(t: Ending, options: AgentOptions = {}): Promise<TestAgent> {
  if (!fs.existsSync(PROGRAM)) throw new Error(`${PROGRAM} is not there: run "npm run build" first`);
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-agent-'));
  const at = (name: string) => path.join(dir, name);
  const hostDirs = hostDirectories(at('host'), options);
  const configFile = at('config.toml');
  fs.writeFileSync(configFile, options.config ?? '');
  // Where the tests run as root, the program may lie where nobody else can read.
  const program = options.uid === undefined ? PROGRAM : at('mjf-agent.cjs');
  if (options.uid !== undefined) giveTo(dir, options.uid);
  const own = ['--machinefeatures', hostDirs.machine, '--jobfeatures', hostDirs.job];
  const channels = typeof options.channels === 'function' ? options.channels(dir) : (options.channels ?? own);
  const env = typeof options.env === 'function' ? options.env(dir) : options.env;
  const listen = options.listen ?? '127.0.0.1:0';
  const places = ['--config', configFile, '--runtime-dir', at('run'), '--state-dir', at('state'), '--listen', listen];
  const lines: LogLine[] = [];
  const taken = new Set<LogLine>();
  const lookers = new Set<() => void>();
  let complaints = '';
  let url = '';
  let run = spawnAgent();
  t.after(async () => {
    for (const signal of ['SIGCONT', 'SIGKILL'] as const) run.child.kill(signal);
    await run.ended;
    fs.rmSync(dir, { recursive: true, force: true });
  });

  function spawnAgent(): { readonly child: ChildProcess; readonly ended: Promise<Ended>; isOver(): boolean } {
    let over = false;
    const child = spawn(process.execPath, [program, 'run', ...places, ...channels], {
      cwd: '/',
      env: { PATH: process.env['PATH'], ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(options.uid !== undefined && { uid: options.uid, gid: options.uid }),
    });
    killAtExit(child);
    readline.createInterface({ input: child.stdout }).on('line', (text) => {
      lines.push(parseLine(text));
      for (const look of lookers) look();
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaints += text;
    });
    const ended = new Promise<Ended>((resolve, reject) => {
      child.once('error', reject);
      // `close`, not `exit`: then every line has been read.
      child.once('close', (code, signal) => {
        over = true;
        resolve({ code, signal });
        for (const look of lookers) look();
      });
    });
    return { child, ended, isOver: () => over };
  }

  function log(event: string, where: (line: LogLine) => boolean = () => true): Promise<LogLine> {
    return new Promise((resolve, reject) => {
      const settle = (result: LogLine | Error): void => {
        clearTimeout(timer);
        lookers.delete(look);
        if (result instanceof Error) reject(result);
        else resolve(result);
      };
      const fail = (why: string): void =>
        settle(new Error(`${why}: no log line "${event}"\n${tail(lines)}${complaints}`));
      const timer = setTimeout(() => fail('out of time'), WAIT_MS);
      const look = (): void => {
        const line = lines.find((each) => each.event === event && !taken.has(each) && where(each));
        if (line !== undefined) {
          taken.add(line);
          settle(line);
        } else if (run.isOver()) fail('the agent has ended');
      };
      lookers.add(look);
      look();
    });
  }

  async function awaitStart(unready = false): Promise<void> {
    if (unready) return;
    if (listen !== 'off') url = String((await log('http_listening', (line) => line['url'] !== undefined))['url']);
    // The last door.
    await log('http_listening', (line) => String(line['address']).endsWith('/admin.sock'));
    await log('ready');
  }

  const request = (target: string, wish: RequestOptions = {}): Promise<HttpAnswer> =>
    exchange(url, wish.socket === undefined ? undefined : path.join(at('run'), wish.socket), target, wish);

  /**
   * On a busy machine, what takes longer to write than its bound is written after HTTP has changed (SYSTEMS.md, "Order of
   * effects"); the document comes last. False when the truth has gone on meanwhile.
   */
  async function fileShows(text: string): Promise<boolean> {
    const giveUpAt = Date.now() + FILES_MS;
    while (agent.file('lifetime.json') !== text) {
      if (Date.now() > giveUpAt) return false;
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    return true;
  }

  async function until(what: string, holds: (lifetime: Lifetime) => boolean): Promise<Lifetime> {
    const giveUpAt = Date.now() + WAIT_MS;
    for (let query = ''; ; ) {
      // The socket, so that it works with HTTP off too.
      const answer = await request(`/v1/lifetime${query}`, { socket: 'agent.sock' });
      const lifetime = JSON.parse(answer.body.toString()) as Lifetime;
      if (holds(lifetime) && (await fileShows(answer.body.toString()))) return lifetime;
      if (Date.now() > giveUpAt) throw new Error(`never: ${what}\n${answer.body}${tail(lines)}`);
      const etag = encodeURIComponent(answer.headers.etag ?? '');
      query = `?wait_for_change=true&timeout_sec=${HANG_SECS}&last_etag=${etag}`;
    }
  }

  let marks = 0;
  const agent: TestAgent = {
    dir,
    runtimeDir: at('run'),
    stateDir: at('state'),
    journalDir: at('run-state'),
    configFile,
    hostDirs,
    get url() {
      return url;
    },
    get pid() {
      return run.child.pid ?? 0;
    },
    get ended() {
      return run.ended;
    },
    lines,
    complaints: () => complaints,
    log,
    request,
    until,
    lifetime: async () => JSON.parse((await request('/v1/lifetime', { socket: 'agent.sock' })).body.toString()),
    async readAgain() {
      marks += 1;
      const mark = String(marks);
      hostDirs.set('machine', 'test_mark', mark);
      await until(`mark ${mark} read`, (lifetime) => lifetime.machinefeatures['test_mark']?.value === mark);
    },
    file(name) {
      try {
        return fs.readFileSync(path.join(at('run'), name), 'utf8');
      } catch {
        return undefined;
      }
    },
    signal: (signal) => void run.child.kill(signal),
    stop() {
      run.child.kill('SIGTERM');
      return run.ended;
    },
    async kill9() {
      run.child.kill('SIGKILL');
      await run.ended;
    },
    async restart({ unready } = {}) {
      for (const line of lines) taken.add(line);
      run = spawnAgent();
      await awaitStart(unready);
    },
  };
  await awaitStart(options.unready);
  return agent;
}

export interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs any command of the program to its end; killed after a while, since each of them must end by itself. */
export function runProgram(
  args: readonly string[],
  options: { readonly env?: Readonly<Record<string, string>>; readonly uid?: number; readonly program?: string } = {},
): Promise<Ran> {
  const { uid } = options;
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [options.program ?? PROGRAM, ...args],
      {
        cwd: '/',
        env: { PATH: process.env['PATH'], ...options.env },
        timeout: WAIT_MS,
        killSignal: 'SIGKILL',
        ...(uid !== undefined && { uid, gid: uid }),
      },
      (error, out, err) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : null;
        resolve({ code, out, err });
      },
    );
  });
}

/** One request, one answer, on a connection of its own. `socketPath` wins over `base`. */
export function exchange(
  base: string,
  socketPath: string | undefined,
  target: string,
  options: RequestOptions = {},
): Promise<HttpAnswer> {
  const body = options.body === undefined ? undefined : Buffer.from(JSON.stringify(options.body));
  const headers = {
    ...(body !== undefined && { 'content-type': 'application/json', 'content-length': String(body.length) }),
    ...(socketPath !== undefined && { host: 'localhost' }),
    ...options.headers,
  };
  const common = { method: options.method ?? 'GET', headers, agent: false, timeout: WAIT_MS };
  return new Promise((resolve, reject) => {
    const answered = (response: http.IncomingMessage): void => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }),
      );
    };
    const outgoing =
      socketPath === undefined
        ? http.request(`${base}${target}`, common, answered)
        : http.request({ ...common, socketPath, path: target }, answered);
    outgoing.on('timeout', () => outgoing.destroy(new Error(`${target}: no answer in time`)));
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

/** Text of a value over HTTP as `curl -f` would see it: undefined for a 404. */
export async function httpValue(agent: TestAgent, target: string): Promise<string | undefined> {
  const { status, body } = await agent.request(target);
  if (status === 404) return undefined;
  if (status !== 200) throw new Error(`${target}: ${status}`);
  return body.toString();
}

/** A user to whom file permissions apply: ourselves, or another one where we are root; else why there is none. */
export function plainUser(): { readonly uid: number; readonly own: boolean } | { readonly reason: string } {
  const own = process.getuid?.() ?? 0;
  if (own !== 0) return { uid: own, own: true };
  const probe = spawnSync(process.execPath, ['-e', '0'], { uid: PLAIN_UID, gid: PLAIN_UID, cwd: '/' });
  return probe.status === 0
    ? { uid: PLAIN_UID, own: false }
    : { reason: `${process.execPath} cannot be run by uid ${PLAIN_UID}` };
}

/** Whole UNIX seconds, `ahead` seconds from now. */
export const inSecs = (ahead: number): number => Math.ceil(Date.now() / 1000) + ahead;

function hostDirectories(root: string, { machine = {}, job = {} }: AgentOptions): HostDirectories {
  const dirs = { machine: path.join(root, FOLDERS.machine), job: path.join(root, FOLDERS.job) };
  const host: HostDirectories = {
    ...dirs,
    set: (side, key, value) => host.write(side, key, `${value}\n`),
    write(side, key, content) {
      const born = path.join(root, `${side}.${key}`);
      const file = path.join(dirs[side], key);
      fs.writeFileSync(born, content);
      // A directory is the one thing that a rename does not replace.
      if (fs.lstatSync(file, { throwIfNoEntry: false })?.isDirectory()) fs.rmdirSync(file);
      fs.renameSync(born, file);
    },
    remove: (side, key) => fs.rmSync(path.join(dirs[side], key), { recursive: true, force: true }),
  };
  for (const [side, values] of [
    ['machine', machine],
    ['job', job],
  ] as const) {
    fs.mkdirSync(dirs[side], { recursive: true });
    for (const [key, value] of Object.entries(values)) host.set(side, key, value);
  }
  return host;
}

function giveTo(dir: string, uid: number): void {
  // The host's files stay the host's.
  fs.chmodSync(dir, 0o755);
  fs.copyFileSync(PROGRAM, path.join(dir, 'mjf-agent.cjs'));
  for (const name of ['run', 'run-state', 'state']) {
    fs.mkdirSync(path.join(dir, name));
    fs.chownSync(path.join(dir, name), uid, uid);
  }
}

function parseLine(text: string): LogLine {
  try {
    return JSON.parse(text) as LogLine;
  } catch {
    return { event: 'not_json', level: 'error', msg: text };
  }
}

const tail = (lines: readonly LogLine[]): string =>
  lines
    .slice(-15)
    .map((line) => `${JSON.stringify(line)}\n`)
    .join('');

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** Also where a test file ends before its tests do. */
export function killAtExit(child: ChildProcess): void {
  running.add(child);
  child.once('exit', () => running.delete(child));
}
