/**
 * The built program as a daemon, for tests that judge it from outside: started in directories of its own, awaited by what
 * it logs and publishes, and surely ended. Nothing of the tests' own environment reaches it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { exchange, type HttpAnswer, type RequestOptions } from './exchange.ts';
import { type HostDirectories, type HostValues, hostDirectories } from './host-directories.ts';
import type { Lifetime } from './lifetime-document.ts';
import type { Ended, Ending } from './processes.ts';
import { killAtExit, PROGRAM, WAIT_MS } from './program.ts';

/** One hanging GET; the loop around it asks again. */
const HANG_SECS = 5;
/** How long files may lag behind HTTP, and how often they are looked at. */
const FILES_MS = 3_000;
const LOOK_MS = 5;
/** A start on a quiet machine takes less. */
const QUIET_START_MS = 700;

export interface LogLine {
  readonly event: string;
  readonly level: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

export interface AgentOptions extends HostValues {
  /** Text of its configuration file. */
  readonly config?: string;
  /** Replaces `--machinefeatures` and `--jobfeatures` with the host's directories. */
  readonly channels?: readonly string[] | ((dir: string) => readonly string[]);
  /** Besides PATH; the function gets the temporary directory. */
  readonly env?: Readonly<Record<string, string>> | ((dir: string) => Readonly<Record<string, string>>);
  readonly listen?: string;
  /** Runs it under this user and group; everything it writes to is theirs then. */
  readonly uid?: number;
  /** A command that runs it somewhere else (`nsenter …`) and becomes it: the process stays the same. */
  readonly within?: readonly string[];
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
  /** How much later than on a quiet machine things happen here, whole seconds; from how long the start took. */
  readonly slackSecs: number;
  /** The first line of this event that was not handed out before, or the next one to come. */
  log(event: string, where?: (line: LogLine) => boolean): Promise<LogLine>;
  request(target: string, options?: RequestOptions): Promise<HttpAnswer>;
  lifetime(): Promise<Lifetime>;
  /** The first document from now on of which `holds` is true, by hanging GETs; the files show it too. */
  until(what: string, holds: (lifetime: Lifetime) => boolean): Promise<Lifetime>;
  /** Resolves when the host's directory has been read again: whatever else stands in it now was read too. */
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
    const [command = '', ...args] = [
      ...(options.within ?? []),
      process.execPath,
      program,
      'run',
      ...places,
      ...channels,
    ];
    const child = spawn(command, args, {
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
  let slackSecs = 0;
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
    get slackSecs() {
      return slackSecs;
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
  const begunMs = performance.now();
  await awaitStart(options.unready);
  slackSecs = Math.floor((performance.now() - begunMs) / QUIET_START_MS);
  return agent;
}

/** Text of a value over HTTP as `curl -f` would see it: undefined for a 404. */
export async function httpValue(agent: TestAgent, target: string): Promise<string | undefined> {
  const { status, body } = await agent.request(target);
  if (status === 404) return undefined;
  if (status !== 200) throw new Error(`${target}: ${status}`);
  return body.toString();
}

/** Whole UNIX seconds, `ahead` seconds from now. */
export const inSecs = (ahead: number): number => Math.ceil(Date.now() / 1000) + ahead;

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
