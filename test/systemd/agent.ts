/** The built program as a service of the container, as an operator would run it as root. */
import { exchange, type HttpAnswer, type RequestOptions } from '../support/exchange.ts';
import type { Lifetime } from '../support/lifetime-document.ts';
import { AGENT, type Bed, NODE, until } from './bed.ts';

export interface LoggedLine {
  readonly event: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

export interface ServiceAgent {
  /** Through `admin.sock`, as its operator. */
  request(target: string, options?: RequestOptions): Promise<HttpAnswer>;
  lifetime(): Promise<Lifetime>;
  untilPayloads(what: Partial<Lifetime['payloads']>): Promise<Lifetime>;
  /** A shutdown so many seconds ahead; gives the deadline and the time of the first signal, UNIX ms. */
  announce(inSecs: number): Promise<{ readonly deadlineMs: number; readonly stopAtMs: number }>;
  cancel(): Promise<void>;
  /** All that it has logged in this container, over its restarts. */
  log(): Promise<readonly LoggedLine[]>;
  untilLogged(event: string): Promise<LoggedLine>;
  kill9(): Promise<void>;
  start(): Promise<void>;
}

const CONFIG_FILE = '/etc/mjf-agent/config.toml';
const SERVICE = `[Service]
ExecStart=${NODE} ${AGENT} run --config ${CONFIG_FILE} --listen 127.0.0.1:8653
KillMode=process
`;

/** Resolves when it is ready. */
export async function startService(bed: Bed, config: string): Promise<ServiceAgent> {
  await bed.exec(['mkdir', '-p', '/etc/mjf-agent']);
  bed.write(CONFIG_FILE, `sources = ["static"]\n[source.static]\nmachinefeatures = { hs06 = "1" }\n${config}`);
  await bed.units({ 'mjf-agent.service': SERVICE });

  const request = (target: string, options: RequestOptions = {}) =>
    exchange('', bed.path('/run/mjf-agent/admin.sock'), target, options);
  const lifetime = async (): Promise<Lifetime> => JSON.parse((await request('/v1/lifetime')).body.toString());
  const log = async (): Promise<readonly LoggedLine[]> => {
    const { out } = await bed.exec(['journalctl', '-u', 'mjf-agent.service', '-o', 'cat', '--no-pager']);
    return out.split('\n').flatMap((line) => (line.startsWith('{') ? [JSON.parse(line) as LoggedLine] : []));
  };
  const tail = async (): Promise<string> => {
    const { out } = await bed.exec(['journalctl', '-o', 'cat', '--no-pager', '-n', '40']);
    return out;
  };

  const agent: ServiceAgent = {
    request,
    lifetime,
    async untilPayloads(wanted) {
      let seen = await lifetime();
      const holds = (): boolean =>
        (Object.entries(wanted) as [keyof Lifetime['payloads'], number][]).every(
          ([state, count]) => seen.payloads[state] === count,
        );
      await until(
        `payloads ${JSON.stringify(wanted)}`,
        async () => {
          seen = await lifetime();
          return holds();
        },
        async () => `${JSON.stringify(seen.payloads)}\n${await tail()}`,
      );
      return seen;
    },
    async announce(inSecs) {
      const { status, body } = await request('/v1/notices', {
        method: 'POST',
        body: { kind: 'shutdown', in_secs: inSecs },
      });
      if (status !== 201) throw new Error(`no notice: ${status} ${body}`);
      const { deadline, stop_at: stopAt } = await lifetime();
      return { deadlineMs: (deadline ?? 0) * 1000, stopAtMs: (stopAt ?? 0) * 1000 };
    },
    async cancel() {
      const { status, body } = await request('/v1/notices', { method: 'DELETE' });
      if (status >= 300) throw new Error(`not taken back: ${status} ${body}`);
    },
    log,
    async untilLogged(event) {
      let found: LoggedLine | undefined;
      await until(
        `log line ${event}`,
        async () => {
          found = (await log()).find((line) => line.event === event);
          return found !== undefined;
        },
        tail,
      );
      return found ?? { event, msg: '' };
    },
    async kill9() {
      await bed.systemctl('kill', '-s', 'KILL', 'mjf-agent.service');
      await until(
        'the agent is dead',
        async () => (await bed.property('mjf-agent.service', 'ActiveState')) === 'failed',
      );
    },
    async start() {
      await bed.systemctl('start', 'mjf-agent.service');
      await until(
        'the agent is ready',
        async () => {
          if ((await bed.property('mjf-agent.service', 'ActiveState')) !== 'active')
            throw new Error(`ended: ${await tail()}`);
          return (await request('/readyz').catch(() => null))?.status === 200;
        },
        tail,
      );
    },
  };
  await agent.start();
  return agent;
}
