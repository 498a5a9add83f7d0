/**
 * The guard: hidden command `__guard arm|drain`, run by root from mjf-agent-guard.service, which is stopped first of all units
 * when the machine goes down (SYSTEMS.md, "systemd"). `arm` says how much time there is, `drain` uses it.
 */
import fs from 'node:fs';
import path from 'node:path';
import { type DaemonAnswer, type DaemonRequest, request } from '../client.ts';
import { escapeLine } from '../escape.ts';
import { EXIT } from '../exit-codes.ts';
import { systemctl } from '../payloads/systemctl.ts';
import { parseTimespan } from '../payloads/unit-rows.ts';
import { type Daemon, drain, type Lifetime, type Reply, type Row } from './drain.ts';

type Env = Readonly<Record<string, string | undefined>>;

const UNIT = 'mjf-agent-guard.service';
const AGENT_UNIT = 'mjf-agent.service';
const STAND_IN_UNIT = 'mjf-agent-stand-in.service';
const DEFAULT_RUNTIME_DIR = '/run/mjf-agent';
/** A manager that is about to stop everything is busy; one that does not say whether it is going to is asked again. */
const SYSTEMCTL_MS = 10_000;
const MOST_QUESTIONS = 3;
/** Of TimeoutStopSec: our own start, the last word, and an end of our own choice. */
const MARGIN_MS = 45_000;
/** Where systemd does not say what the unit has: its default. */
const DEFAULT_STOP_MS = 90_000;
const ANSWER_MS = 10_000;
/** Of the rows of payloads, which their users fill: 1024 of them with all that the interface takes have some 10 MB. */
const LARGEST_ANSWER_BYTES = 64 * 1024 * 1024;

export async function guardMain([what]: readonly string[], env: Env = process.env): Promise<number> {
  const say = (text: string): void => void process.stdout.write(`${escapeLine(text)}\n`);
  if (what === 'arm') return arm(env, say);
  if (what === 'drain') return drainMachine(env, say);
  process.stderr.write('mjf-agent: the guard is run by mjf-agent-guard.service\n');
  return EXIT.usage;
}

async function arm(env: Env, say: (text: string) => void): Promise<number> {
  const dir = env['RUNTIME_DIRECTORY']?.split(':')[0];
  if (dir === undefined || !path.isAbsolute(dir)) {
    say('the guard is armed by its unit alone: no RUNTIME_DIRECTORY');
    return EXIT.usage;
  }
  const secs = Math.floor((await timeMs(env)) / 1000);
  const file = path.join(dir, 'seconds');
  try {
    fs.writeFileSync(`${file}.new`, `${secs}\n`, { mode: 0o644 });
    fs.renameSync(`${file}.new`, file);
  } catch (error) {
    // A unit that has failed is not stopped: the payloads would have no guard at all. So the agent reckons with logind alone.
    say(`the agent does not hear of its guard: ${(error as Error).message}`);
  }
  say(`a shutdown of this machine waits up to ${secs} s for its payloads`);
  return EXIT.ok;
}

async function drainMachine(env: Env, say: (text: string) => void): Promise<number> {
  // Also when it is stopped or restarted by hand, and when its package is removed: then nobody is to be stopped.
  const state = await stateOfMachine(env);
  if (state !== 'stopping') {
    say(`nothing to do: the machine is not going down (${state || 'systemd does not say'})`);
    return EXIT.ok;
  }
  const runtimeDir = env['MJF_AGENT_RUNTIME_DIR'] || DEFAULT_RUNTIME_DIR;
  const daemon: Daemon = { ...daemonAt(runtimeDir), revive: reviver(env, say) };
  const done = await drain({ daemon, budgetMs: await timeMs(env), say });
  return done ? EXIT.ok : EXIT.failure;
}

/** As systemd calls it; empty where it does not say. */
async function stateOfMachine(env: Env): Promise<string> {
  const ask = async (...args: readonly string[]): Promise<string> =>
    (await systemctl(args, { env, timeoutMs: SYSTEMCTL_MS })).stdout.trim();
  for (let question = 1; question <= MOST_QUESTIONS; question += 1) {
    const state = await ask('is-system-running');
    if (state !== '' && state !== 'initializing' && state !== 'starting') return state;
    // To systemd a boot that has not ended goes before its end, and it has not ended where user data runs a pilot.
    const down = await ask('show', '--property=Job', '--property=ActiveState', 'shutdown.target');
    if (/^(Job=[1-9]|ActiveState=activ)/m.test(down)) return 'stopping';
    if (state !== '') return state;
  }
  return '';
}

/** What payloads may take. */
async function timeMs(env: Env): Promise<number> {
  const args = ['show', '--property=TimeoutStopUSec', '--value', UNIT];
  const { stdout } = await systemctl(args, { env, timeoutMs: SYSTEMCTL_MS });
  // `infinity`: systemd itself gives up after 30 min (poweroff.target), which is too late for us.
  const stopMs = stdout.trim() === 'infinity' ? 25 * 60_000 : (parseTimespan(stdout.trim()) ?? DEFAULT_STOP_MS);
  return Math.max(stopMs / 2, stopMs - MARGIN_MS);
}

/**
 * systemd starts no service again whose stop is in its queue, and while the machine goes down all of them are: a stand-in, which
 * is not in that queue, takes the place of an agent that died. Each of the two is done once: what follows is systemd's.
 */
function reviver(env: Env, say: (text: string) => void): Daemon['revive'] {
  let isReplaced = false;
  let isEnded = false;
  const ask = (...args: readonly string[]) => systemctl(args, { env, timeoutMs: SYSTEMCTL_MS });
  return async (lastResort) => {
    const { stdout } = await ask('show', '--property=ActiveState', '--property=SubState', AGENT_UNIT);
    // Not one that somebody has stopped. What waits for its restart will not see it any more.
    if (/^(ActiveState=failed|SubState=auto-restart.*)$/m.test(stdout) && !isReplaced) {
      isReplaced = true;
      const started = await ask('start', '--no-block', STAND_IN_UNIT);
      say(started.ok ? 'the agent is gone: another one takes its place' : `the agent is gone: ${started.detail}`);
      return started.ok;
    }
    if (/^ActiveState=active$/m.test(stdout) && lastResort && !isEnded) {
      isEnded = true;
      say('the agent hangs: it is ended, for another one to take its place');
      return (await ask('kill', '--kill-who=main', '--signal=SIGKILL', AGENT_UNIT)).ok;
    }
    return false;
  };
}

function daemonAt(runtimeDir: string): Omit<Daemon, 'revive'> {
  const ask = (method: DaemonRequest['method'], path: string, body?: unknown): Promise<DaemonAnswer> =>
    request({
      channel: 'admin',
      runtimeDir,
      method,
      path,
      timeoutMs: ANSWER_MS,
      largestBytes: LARGEST_ANSWER_BYTES,
      ...(body === undefined ? {} : { body }),
    });
  async function get<T>(path: string, read: (text: string) => T): Promise<T | null> {
    const answer = await ask('GET', path);
    if ('unreachable' in answer || answer.status !== 200) return null;
    try {
      return read(answer.body.toString());
    } catch {
      return null;
    }
  }
  async function told(method: 'POST' | 'PATCH', path: string, body: unknown): Promise<Reply | null> {
    const answer = await ask(method, path, body);
    // 429: a payload that says something in every turn of its loop has used up what may be said of it now.
    if ('unreachable' in answer) return null;
    if (answer.status === 429 || answer.status >= 500) return 'later';
    return answer.status >= 200 && answer.status < 300 ? 'taken' : { refused: `status ${answer.status}` };
  }
  return {
    rows: () => get('/v1/payloads', (text) => JSON.parse(text) as readonly Row[]),
    lifetime: () => get('/v1/lifetime', (text) => JSON.parse(text) as Lifetime),
    isTelling: () => get('/metrics', (text) => /^(mjf_last_word_pending|mjf_hooks_running) [1-9]/m.test(text)),
    announce: (inSecs, reason) =>
      told('POST', '/v1/notices', { kind: 'shutdown', in_secs: inSecs, reason, this_boot: true }),
    hurry: (id, deadline) => told('PATCH', `/v1/payloads/${encodeURIComponent(id)}`, { deadline }),
  };
}
