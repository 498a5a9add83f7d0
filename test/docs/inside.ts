/**
 * Inside the sandbox: `inside.ts DOCUMENT…` starts the daemon where the documents say it is, does with every block what its
 * language asks for, and writes an outcome a line, as JSON.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type Chunk, chunksOf } from './chunks.ts';
import { type Block, ROOT, readDocument, readManual } from './documents.ts';
import { isNotRun } from './not-run.ts';
import { type Outcome, type Reader, runEndless, startReader } from './reader.ts';
import { AGENT_LOG, AGENT_PID, writeOwnPrograms, writeStandIns } from './stand-ins.ts';
import { env, HOME, type Result, TOOLS } from './tools.ts';

/** One line of the answer. */
export interface BlockOutcome extends Result {
  readonly file: string;
  readonly line: number;
  readonly language: string;
}

const OUTPUTS = '/srv/joboutputs/vm-17';
const START_MS = 60_000;
const SERVICE_PORT = 8099;
/** So far ahead that nobody is stopped by it, and no drain begins. */
const SHUTDOWN_SECS = 86_400;
function furnish(): void {
  writeStandIns('/mnt/bin');
  // Also for whoever has no PATH but the usual one; nothing of it reaches the real directory.
  writeStandIns('/usr/sbin');
  // What is installed below /usr/share/doc and /etc, by the list of the packages.
  const tree = '/mnt/tree';
  execFileSync(process.execPath, ['packaging/contents.mjs', 'node', 'deb', tree], {
    env: { ...env, SOURCE_DATE_EPOCH: '0' },
  });
  for (const place of ['/usr/share/doc', '/etc/mjf-agent', '/etc/profile.d'])
    if (fs.existsSync(path.dirname(place))) fs.cpSync(path.join(tree, place), place, { recursive: true });
  fs.writeFileSync(
    path.join(HOME, '.curlrc'),
    'silent\nshow-error\nwrite-out = "%{stderr}\\n[HTTP %{http_code}]\\n"\n',
  );
  fs.mkdirSync(OUTPUTS, { recursive: true });
  // Some service of the site's, to which a reader's own programs talk.
  http
    .createServer((_request, answer) => answer.end('ok\n'))
    .listen(SERVICE_PORT, '127.0.0.1')
    .unref();
  fs.writeFileSync('/etc/mjf-agent/chat-url', `http://127.0.0.1:${SERVICE_PORT}/\n`);
  announce();
}

/** What the host says, as at first. */
function announce(): void {
  const end = String(Math.floor(Date.now() / 1000) + SHUTDOWN_SECS);
  const host = {
    machinefeatures: { total_cpu: '8', hs06: '171.04', grace_secs: '300', shutdowntime: end },
    jobfeatures: { allocated_cpu: '8', job_id: 'vm-17' },
  };
  for (const [directory, values] of Object.entries(host)) {
    fs.mkdirSync(`/etc/${directory}`, { recursive: true });
    for (const [key, value] of Object.entries(values)) {
      fs.writeFileSync(`/etc/${directory}/.new`, `${value}\n`);
      fs.renameSync(`/etc/${directory}/.new`, `/etc/${directory}/${key}`);
    }
  }
}

let agent: ChildProcess | undefined;

async function startAgent(): Promise<void> {
  if (agent !== undefined && agent.exitCode === null && agent.signalCode === null) return;
  const from = fs.existsSync(AGENT_LOG) ? fs.statSync(AGENT_LOG).size : 0;
  const log = fs.openSync(AGENT_LOG, 'a');
  agent = spawn('/mnt/bin/mjf-agent', ['run'], {
    cwd: '/',
    env: { ...env, JOBOUTPUTS: OUTPUTS },
    stdio: ['ignore', log, log],
  });
  fs.closeSync(log);
  fs.writeFileSync(AGENT_PID, `${agent.pid}\n`);
  for (const giveUpAt = Date.now() + START_MS; ; await pause(20)) {
    const said = fs.readFileSync(AGENT_LOG, 'utf8').slice(from);
    // Its own lines also say what is wrong with a configuration that a document has just had written.
    if (said.includes('"event":"ready"')) return;
    if (agent.exitCode !== null || Date.now() > giveUpAt) throw new Error(`the agent does not start:\n${said}`);
  }
}

async function stopAgent(): Promise<void> {
  if (agent === undefined || agent.exitCode !== null || agent.signalCode !== null) return;
  const ended = once(agent, 'exit');
  agent.kill('SIGTERM');
  await ended;
}

/** What one block has announced or overridden is not there for the next: an agent that remembers nothing. */
async function forget(): Promise<void> {
  await stopAgent();
  for (const place of ['/var/lib/mjf-agent', '/run/mjf-agent', '/run/mjf-agent-state'])
    fs.rmSync(place, { recursive: true, force: true });
}

/** A directory as the reader of this document is in: what lies beside it, the examples, programs of his own. */
function directoryOf(file: string): string {
  const directory = path.join(HOME, file.replace(/\W/g, '-'));
  if (fs.existsSync(directory)) return directory;
  const beside = path.dirname(file);
  fs.mkdirSync(directory);
  if (/^(?:\.|packaging\/docs|packaging\/man)$/.test(beside)) {
    // A clone of the project, in which only what is often written to is a copy.
    for (const name of fs.readdirSync(ROOT))
      if (name === 'packaging' || name === 'dist')
        fs.cpSync(path.join(ROOT, name), path.join(directory, name), { recursive: true });
      else fs.symlinkSync(path.join(ROOT, name), path.join(directory, name));
  } else fs.cpSync(path.join(ROOT, beside), directory, { recursive: true });
  const examples = path.join(ROOT, 'packaging/examples');
  for (const name of fs.readdirSync(examples))
    if (!name.endsWith('.md')) fs.copyFileSync(path.join(examples, name), path.join(directory, name));
  writeOwnPrograms(directory);
  return directory;
}

/** Programs that not every machine has: without them a block is left out. */
const OPTIONAL =
  /(?:^|[\s:])(promtool|prometheus|jq|python3|g\+\+|systemd-analyze|mandoc|man): (?:command )?not found/m;
/** Who says these speaks as a payload: run as one. */
const AS_PAYLOAD = /MJF_PAYLOAD_URL|mjf-agent finish|\$\{?(?:MACHINEFEATURES|JOBFEATURES|JOBOUTPUTS)\b/;

/** What the commands of a block printed, for the block that shows it. */
const printed = new Map<Block, string>();

/** What a reader has open while he goes through a document: what he sets in one block is there in the next. */
let open: { readonly shell: string; readonly reader: Reader } | undefined;

function readerOf(shell: string, asPayload: boolean, cwd: string): Reader {
  if (asPayload) return startReader(['mjf-agent', 'exec', '--name', 'reader', '--', shell], cwd, env);
  if (open?.shell !== shell) open = { shell, reader: startReader([shell], cwd, env) };
  return open.reader;
}

async function runShell(file: string, block: Block, commands = block, enough = isSomething): Promise<Result> {
  const shell = block.language === 'bash' ? 'bash' : 'sh';
  const cwd = directoryOf(file);
  const text = commands.lines.join('\n');
  const asPayload = AS_PAYLOAD.test(text) && !/export \$\(mjf-agent env|MJF_PAYLOAD_URL=/.test(text);
  const reader = readerOf(shell, asPayload, cwd);
  const start: Chunk = {
    text: `cd '${cwd}'`,
    line: block.line,
    endless: false,
    daemon: false,
    code: 0,
    status: undefined,
  };
  let all = '';
  let result: Result = {};
  for (const chunk of [start, ...chunksOf(commands, shell)]) {
    const { output, wrong } = await runChunk(chunk, (each) => reader.run(each), cwd, enough);
    all += output;
    if (wrong === undefined) continue;
    const missing = OPTIONAL.exec(output)?.[1];
    result =
      missing !== undefined
        ? { skipped: `needs ${missing}` }
        : {
            wrong: `${file}:${chunk.line}: ${wrong}\n--- run:\n${chunk.text}\n--- came out:\n${output.trim() || '(nothing)'}\n---`,
          };
    break;
  }
  // What went wrong may have taken the shell along.
  if (asPayload || result.wrong !== undefined) await reader.end();
  if (result.wrong !== undefined) open = undefined;
  printed.set(block, all);
  return result;
}

/** A terminal as it looks: what stands behind `$ ` is typed, the rest is the answer. */
async function runTerminal(file: string, block: Block): Promise<Result> {
  const lines = block.lines.map((line) => (line.startsWith('$ ') ? line.slice(2) : `# ${line}`));
  const answer = block.lines.filter((line) => !line.startsWith('$ '));
  const result = await runShell(
    file,
    block,
    { ...block, lines },
    (output) => missingWords(answer, output) === undefined,
  );
  return result.wrong === undefined && result.skipped === undefined
    ? compare({ ...block, lines: answer, outputOf: block })
    : result;
}

/** A whole program: put where the document says that it belongs, and run as a hook would be. */
async function runProgram(block: Block): Promise<Result> {
  const named = /^# (\/\S+)$/.exec(block.lines[1] ?? '')?.[1] ?? block.named ?? path.join(HOME, 'program');
  fs.mkdirSync(path.dirname(named), { recursive: true });
  fs.writeFileSync(named, `${block.lines.join('\n')}\n`, { mode: 0o755 });
  const child = execFile(named, [], { cwd: '/', env: { ...env, ...HOOK }, timeout: START_MS });
  const text: string[] = [];
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (part: string) => text.push(part));
  child.stdin?.on('error', () => undefined).end(fs.readFileSync('/run/mjf-agent/lifetime.json'));
  const [code, signal] = await once(child, 'close');
  printed.set(block, text.join(''));
  const ended = `as ${named}, run as a hook: ended with ${code ?? signal}`;
  return code === 0 ? {} : { wrong: `${ended}\n--- came out:\n${text.join('') || '(nothing)'}\n---` };
}

/** What every program of hooks.d finds, here at the begin of a drain. */
const HOOK = {
  MJF_EVENT: 'draining',
  MJF_PHASE: 'draining',
  MJF_REASON: 'a test',
  MJF_DEADLINE: String(Math.floor(Date.now() / 1000) + SHUTDOWN_SECS),
  MJF_REMAINING_SECS: String(SHUTDOWN_SECS),
  MJF_NOTICE_ID: 'directory/shutdowntime',
  MJF_NOTICE_KIND: 'shutdown',
  MJF_CAN_TERMINATE: '0',
  MJF_REPEATED: '0',
  MJF_HOOK_RUN: 'test',
  MJF_PAYLOAD_ID: 'p-1',
  MJF_PAYLOAD_NAME: 'simulation',
  MACHINEFEATURES: '/run/mjf-agent/machinefeatures',
  JOBFEATURES: '/run/mjf-agent/jobfeatures',
};

const isSomething = (output: string): boolean => /\S/.test(output);

async function runChunk(
  chunk: Chunk,
  ordinary: (chunk: Chunk) => Promise<Outcome>,
  cwd: string,
  enough: (output: string) => boolean,
): Promise<Outcome> {
  if (chunk.endless) return runEndless(chunk, cwd, env, enough);
  if (!chunk.daemon) return ordinary(chunk);
  await stopAgent();
  const outcome = await runEndless(chunk, cwd, env, (output) => output.includes('"event":"ready"'));
  await startAgent();
  return outcome;
}

/** Words of a picture of output that are in the output: values differ from machine to machine, names do not. */
const LEAST_SHARE = 2 / 3;

function compare(block: Block): Result {
  const actual = printed.get(block.outputOf ?? block) ?? '';
  const missing = missingWords(block.lines, actual);
  return missing === undefined
    ? {}
    : { wrong: `the command prints nothing like it: no ${missing}\n--- came out:\n${actual}\n---` };
}

/** The words that are missed, where these are too many. */
function missingWords(shown: readonly string[], actual: string): string | undefined {
  const words = [...new Set(shown.join('\n').match(/\p{L}{4,}/gu) ?? [])];
  const missing = words.filter((word) => !actual.includes(word));
  return missing.length > words.length * (1 - LEAST_SHARE) ? missing.join(', ') : undefined;
}

async function runBlock(file: string, block: Block): Promise<Result> {
  const text = `${block.lines.join('\n')}\n`;
  const tool = TOOLS[block.language];
  if (tool !== undefined) return tool(text);
  if (['sh', 'bash'].includes(block.language)) return text.startsWith('#!') ? runProgram(block) : runShell(file, block);
  if (text.startsWith('$ ')) return runTerminal(file, block);
  return block.outputOf === undefined ? { wrong: `nobody knows how to try "${block.language}"` } : compare(block);
}

const chosen = process.argv.slice(2);
furnish();
for (const name of chosen) {
  open = undefined;
  const { file, blocks } = name.endsWith('.md') ? readDocument(name) : readManual(name);
  for (const block of blocks) {
    if (isNotRun(file, block.lines)) continue;
    let result: Result;
    try {
      announce();
      await startAgent();
      result = await runBlock(file, block);
    } catch (error) {
      result = { wrong: String(error) };
    }
    const { line, language } = block;
    if (/mjf-agent notice/.test(block.lines.join('\n'))) await forget();
    process.stdout.write(`${JSON.stringify({ file, line, language, ...result } satisfies BlockOutcome)}\n`);
  }
}
await stopAgent();
// Whatever a snippet has left in the background.
process.exit(0);
