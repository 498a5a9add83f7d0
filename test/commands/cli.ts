/** Runs the command line as a process, and stands in for the daemon behind its sockets. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';

const ROOT = path.resolve(import.meta.dirname ?? __dirname, '../..');

export interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** `mjf-agent ARGUMENTS` from source. The environment holds nothing that the test did not give. */
export function start(argv: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const child = spawn(process.execPath, ['--import', 'tsx', path.join(ROOT, 'agent/main.ts'), ...argv], {
    cwd: ROOT,
    env: { PATH: process.env['PATH'] ?? '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  const ended = once(child, 'close').then(
    ([code]): Ran => ({ code: typeof code === 'number' ? code : null, out, err }),
  );
  /** Resolves once stdout (or stderr) matches; rejects if the process ends before. */
  const until = async (stream: 'stdout' | 'stderr', pattern: RegExp): Promise<string> => {
    for (;;) {
      const text = stream === 'stdout' ? out : err;
      if (pattern.test(text)) return text;
      const end = await Promise.race([once(child[stream], 'data').then(() => null), ended]);
      if (end !== null) throw new Error(`ended with ${end.code} before ${pattern}: ${end.out}${end.err}`);
    }
  };
  return { child, ended, until };
}

export function run(argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ran> {
  return start(argv, env).ended;
}

export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly body: unknown;
  readonly contentType: string | undefined;
}
export type Answer = { readonly status: number; readonly body: string; readonly headers?: Record<string, string> };

/** A daemon's runtime directory with `agent.sock`, `admin.sock` and `url`, each served by `answer`. */
export async function fakeDaemon(answer: (seen: Seen, channel: 'agent' | 'admin' | 'tcp') => Answer | Promise<Answer>) {
  const runtimeDir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-cli-'));
  const requests: (Seen & { readonly channel: string })[] = [];
  const serve = (channel: 'agent' | 'admin' | 'tcp') =>
    http.createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk);
      const text = Buffer.concat(chunks).toString();
      const seen: Seen = {
        method: request.method ?? '',
        url: request.url ?? '',
        body: text === '' ? undefined : JSON.parse(text),
        contentType: request.headers['content-type'],
      };
      requests.push({ ...seen, channel });
      const { status, body, headers } = await answer(seen, channel);
      response.writeHead(status, headers).end(body);
    });
  const servers = { agent: serve('agent'), admin: serve('admin'), tcp: serve('tcp') };
  servers.agent.listen(path.join(runtimeDir, 'agent.sock'));
  servers.admin.listen(path.join(runtimeDir, 'admin.sock'));
  servers.tcp.listen(0, '127.0.0.1');
  await Promise.all(Object.values(servers).map((server) => once(server, 'listening')));
  const { port } = servers.tcp.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  fs.writeFileSync(path.join(runtimeDir, 'url'), `${url}\n`);
  const stop = async () => {
    for (const server of Object.values(servers)) {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    }
  };
  return {
    runtimeDir,
    url,
    requests,
    env: { MJF_AGENT_RUNTIME_DIR: runtimeDir },
    /** Answers no more, as if the daemon had stopped; its directory stays. */
    stop,
    async close() {
      await stop();
      fs.rmSync(runtimeDir, { recursive: true });
    },
  };
}

/** A whole `/v1/lifetime` as DESIGN.md shows it. */
export function lifetime(change: Readonly<Record<string, unknown>> = {}): string {
  return `${JSON.stringify({
    phase: 'running',
    deadline: null,
    grace_secs: null,
    drain_at: null,
    stop_at: null,
    reason: null,
    overdue: false,
    termination_allowed: null,
    can_terminate: null,
    notices: [],
    machinefeatures: { total_cpu: { value: '8', source: 'directory', since: 1766430000, stale: false } },
    jobfeatures: {},
    sources: [{ name: 'directory', state: 'ok', since: 1766430000 }],
    payloads: { running: 0, stopping: 0, stopped: 0 },
    ...change,
  })}\n`;
}
