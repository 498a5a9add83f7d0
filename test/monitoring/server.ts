/** A real Prometheus (Debian's package) on loopback with a directory of its own, which scrapes one agent each second. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { exchange } from '../support/exchange.ts';
import type { Ending } from '../support/processes.ts';
import { killAtExit, WAIT_MS } from '../support/program.ts';
import { RULES } from './queries.ts';

/** Prometheus answers no hanging questions. */
const LOOK_MS = 100;
/** Somebody may take the port between our look and its start. */
const ATTEMPTS = 3;

export interface PrometheusSeries {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [atSecs: number, value: string];
}

export interface Prometheus {
  /** Throws where Prometheus finds fault with it. Of a scalar: one series without labels. */
  query(expr: string): Promise<readonly PrometheusSeries[]>;
  /** Resolves once the query gives anything. */
  until(expr: string): Promise<readonly PrometheusSeries[]>;
  get(target: string): Promise<unknown>;
}

/** Why a test that needs this program is skipped; false where it is there. */
export const lacks = (program: string): string | false =>
  spawnSync(program, ['--version']).error ? `needs ${program} (Debian: ${PACKAGES[program] ?? program})` : false;
const PACKAGES: Readonly<Record<string, string>> = {
  promtool: 'prometheus',
  'prometheus-node-exporter': 'prometheus-node-exporter',
};

export async function startPrometheus(t: Ending, target: string): Promise<Prometheus> {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-prometheus-'));
  t.after(() => fs.rmSync(dir, { recursive: true, force: true, maxRetries: 5 }));
  const config = path.join(dir, 'prometheus.yml');
  fs.writeFileSync(
    config,
    `global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }
rule_files: ['${RULES}']
scrape_configs: [{ job_name: mjf-agent, static_configs: [{ targets: ['${target}'] }] }]
`,
  );
  for (let attempt = 1; ; attempt += 1) {
    const listen = `127.0.0.1:${await freePort()}`;
    const { complaints, isOver, end } = start([
      'prometheus',
      `--config.file=${config}`,
      `--storage.tsdb.path=${path.join(dir, `data-${attempt}`)}`,
      `--web.listen-address=${listen}`,
      '--log.level=warn',
    ]);
    t.after(end);
    if (await untilReady(`http://${listen}`, isOver)) return client(`http://${listen}`);
    await end();
    if (attempt === ATTEMPTS) throw new Error(`prometheus does not start:\n${complaints()}`);
  }
}

/** A program that runs until the test is over. */
export function start([command = '', ...args]: readonly string[]) {
  const child: ChildProcess = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  killAtExit(child);
  let complaints = '';
  let over = false;
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    complaints = (complaints + text).slice(-10_000);
  });
  const ended = new Promise<void>((resolve) =>
    child.once('close', () => {
      over = true;
      resolve();
    }),
  );
  return {
    complaints: () => complaints,
    isOver: () => over,
    end(): Promise<void> {
      child.kill('SIGKILL');
      return ended;
    },
  };
}

export async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export const untilReady = async (url: string, isOver: () => boolean, target = '/-/ready'): Promise<boolean> => {
  const giveUpAt = Date.now() + WAIT_MS;
  while (!isOver() && Date.now() < giveUpAt) {
    const answer = await exchange(url, undefined, target).catch(() => null);
    if (answer?.status === 200) return true;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  return false;
};

function client(url: string): Prometheus {
  async function get(target: string): Promise<unknown> {
    const answer = await exchange(url, undefined, target);
    const { status, error, data } = JSON.parse(answer.body.toString());
    if (status !== 'success') throw new Error(`${decodeURIComponent(target)}: ${error}`);
    return data;
  }
  async function query(expr: string): Promise<readonly PrometheusSeries[]> {
    const data = (await get(`/api/v1/query?query=${encodeURIComponent(expr)}`)) as {
      readonly resultType: string;
      readonly result: unknown;
    };
    if (data.resultType === 'scalar') return [{ metric: {}, value: data.result as PrometheusSeries['value'] }];
    return data.result as readonly PrometheusSeries[];
  }
  return {
    get,
    query,
    async until(expr) {
      for (const giveUpAt = Date.now() + WAIT_MS; ; ) {
        const found = await query(expr);
        if (found.length > 0) return found;
        if (Date.now() > giveUpAt) throw new Error(`never: ${expr}`);
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      }
    },
  };
}
