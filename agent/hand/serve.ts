/**
 * The root hand: hidden command `__hand`, started by systemd for each connection (`Accept=yes`), which is its stdin and
 * stdout (SYSTEMS.md, "systemd"). Reads one request, judges it by root's own configuration, does it, ends. Its own messages
 * go to stderr.
 */
import net from 'node:net';
import { StringDecoder } from 'node:string_decoder';
import type { Logger } from 'pino';
import { DEFAULT_ETC_DIR } from '../config.ts';
import { createLog } from '../log.ts';
import { mayPowerOff, trustedConfig, unitsProblem } from './allowed.ts';
import { sweepStdio } from './output.ts';
import { ABORT_LINE, type HandAnswer, type HandRequest, MAX_REQUEST_BYTES, parseRequest } from './protocol.ts';
import { runHook } from './run-hook.ts';
import { changeUnits, powerOff } from './systemctl.ts';
import { userFinder } from './user.ts';

/** The agent writes its request at once. */
const REQUEST_MS = 5_000;
/** Answers that nobody takes. */
const LAST_WRITE_MS = 5_000;
/** On the tmpfs of root's own run-time files, where the unit gives no place of its own. */
const SCRATCH_DIR = '/run/mjf-agent-hand';

export interface ServeOptions {
  readonly etcDir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whose files are believed and run: root's alone. */
  readonly owners: ReadonlySet<number>;
  readonly log: Logger;
  readonly scratchDir: string;
  readonly procRoot: string;
  /** Where systemctl is searched. */
  readonly path?: string;
  /** How long the request has waited for this program to start: that belongs to a hook's time. Default 0. */
  readonly waitedMs?: number;
}

/** Exit code 0 once the request was answered, whatever the answer; 1 where there is no connection. */
export async function handMain(options: Partial<ServeOptions> = {}): Promise<number> {
  const { log } = createLog({ level: 'info', tty: false, stream: process.stderr });
  let connection: net.Socket;
  try {
    connection = new net.Socket({ fd: 0, allowHalfOpen: true });
  } catch {
    process.stderr.write(
      'mjf-agent: the root hand is started by its socket unit, with a connection as standard input\n',
    );
    return 1;
  }
  // The program would end between a client that is gone and a hook that runs.
  const alive = setInterval(() => {}, 1_000);
  try {
    await serveHand(connection, {
      etcDir: DEFAULT_ETC_DIR,
      env: process.env,
      owners: new Set([0]),
      log,
      scratchDir: scratchDirOf(process.env),
      procRoot: '/proc',
      waitedMs: performance.now(),
      ...options,
    });
  } finally {
    clearInterval(alive);
  }
  return 0;
}

/** Where hooks get their pipes: `RuntimeDirectory=` of the unit may be all of /run that it can write to (systemd.exec(5)). */
export function scratchDirOf(env: Readonly<Record<string, string | undefined>>): string {
  const given = env['RUNTIME_DIRECTORY']?.split(':')[0];
  return given?.startsWith('/') ? given : SCRATCH_DIR;
}

/** Serves one connection and ends it. Never rejects for what a client sends. */
export async function serveHand(connection: net.Socket, options: ServeOptions): Promise<void> {
  const abort = new AbortController();
  // A client that is gone is no reason to stop: a hook outlives the agent that wanted it.
  connection.on('error', () => {});
  const say = (answer: HandAnswer): void => {
    if (connection.writable) connection.write(`${JSON.stringify(answer)}\n`);
  };
  const line = await readRequest(connection, () => abort.abort());
  const request = line === null ? 'no request came in time and within its bounds' : parseRequest(line);
  if (typeof request === 'string') refuse(request);
  else {
    const config = await trustedConfig(options.etcDir, options.env, options.owners);
    if (typeof config === 'string') refuse(config);
    else await perform(request, config);
  }
  await finish(connection);

  function refuse(detail: string): void {
    options.log.warn({ event: 'hand_refused', why: detail }, 'a request to the root hand is refused');
    say({ result: { ok: false, code: 'refused', detail } });
  }

  async function perform(request: HandRequest, config: Exclude<Awaited<ReturnType<typeof trustedConfig>>, string>) {
    const { log, env } = options;
    const how = { env, ...(options.path === undefined ? {} : { path: options.path }) };
    if (request.verb === 'power_off') {
      // A flag of the agent is its own word, which the hand does not take.
      if (!mayPowerOff(config))
        return refuse(`root's configuration does not allow it: write [stop] when_done = "poweroff" (or at_deadline) in \
${options.etcDir}/config.toml`);
      log.warn({ event: 'hand_power_off' }, 'the machine is powered off');
      return say({ result: await powerOff(how) });
    }
    if (request.verb === 'units') {
      const { action, units } = request;
      const problem = await unitsProblem(units, config, how);
      if (problem !== null) return refuse(problem);
      log.info({ event: 'hand_units', action, units }, `units: ${action}`);
      return say({ result: await changeUnits(action, units, how) });
    }
    const { hooks } = config;
    if (hooks.user === null) return refuse('[hooks] user names nobody: the agent runs its hooks itself');
    const user = await userFinder()(hooks.user);
    if (user === null) return refuse(`[hooks] user: there is no user ${hooks.user}`);
    const { directory, file } = request;
    log.info({ event: 'hand_hook', hook: `${directory}/${file}`, user: user.name }, `hook ${directory}/${file}`);
    sweepStdio(options.scratchDir);
    const outcome = await runHook(
      {
        ...request,
        timeoutMs: Math.max(1, request.timeoutMs - (options.waitedMs ?? 0)),
        onStarted: (started) => say({ started }),
        onLine: (stream, text) => say({ stream, line: text }),
        signal: abort.signal,
      },
      { ...options, hooks, user, home: user.home },
    );
    say({ outcome });
  }
}

/** The first line; null when it is too long, too late or never ends. Later lines can only abort. */
function readRequest(connection: net.Socket, onAbort: () => void): Promise<string | null> {
  return new Promise((resolve) => {
    const decoder = new StringDecoder('utf8');
    let held = '';
    let bytes = 0;
    let got = false;
    const end = (line: string | null): void => {
      clearTimeout(timer);
      got = true;
      resolve(line);
    };
    const timer = setTimeout(() => end(null), REQUEST_MS);
    connection.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > MAX_REQUEST_BYTES + ABORT_LINE.length) {
        connection.pause();
        if (!got) end(null);
        return;
      }
      const lines = (held + decoder.write(chunk)).split('\n');
      held = lines.pop() ?? '';
      for (const line of lines) {
        if (!got) end(line);
        else if (`${line}\n` === ABORT_LINE) onAbort();
      }
    });
    connection.once('close', () => {
      if (!got) end(null);
    });
    connection.once('end', () => {
      if (!got) end(null);
    });
  });
}

function finish(connection: net.Socket): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      connection.destroy();
      resolve();
    };
    const timer = setTimeout(end, LAST_WRITE_MS);
    if (connection.destroyed) end();
    else {
      connection.once('close', end);
      connection.end(end);
    }
  });
}
