/** An EC2 source on a stand-in, and the heart behind it. */
import assert from 'node:assert/strict';
import type { Answer, Reading, StatedNotice } from '../../agent/lifetime/types.ts';
import { type Ec2Config, ec2Source } from '../../agent/sources/ec2.ts';
import type { Source, SourceEnvironment } from '../../agent/sources/source.ts';
import { type Ec2Host, type Ec2HostOptions, META, startEc2Host } from '../hosts/ec2.ts';
import { type History, history, payload, START, source as sourceInfo } from '../lifetime/history.ts';
import { sourceEnvironment } from './environment.ts';

export const ACTION = `${META}/spot/instance-action`;
export const TIME = `${META}/spot/termination-time`;
export const SCHEDULED = `${META}/events/maintenance/scheduled`;
export const REBALANCE = `${META}/events/recommendations/rebalance`;
export const TARGET = `${META}/autoscaling/target-lifecycle-state`;
export const TAGS = `${META}/tags/instance/`;
/** Far longer than a stand-in under load takes; what hangs in a test says so itself. */
const TIMEOUT = '10s';

export const ABSENT = { is: 'absent' } as const;
export const NEGATIVE = { is: 'negative' } as const;
export const unknown = (error: string) => ({ is: 'unknown', error }) as const;
export const presentText = (value: string) => ({ is: 'present', value }) as const;

export interface Fixture {
  host(options?: Ec2HostOptions): Promise<Ec2Host>;
  source(host: Pick<Ec2Host, 'url'>, config?: Ec2Config, environment?: Partial<SourceEnvironment>): Source;
  /** Call after each test. */
  clean(): Promise<void>;
}

export function ec2Fixture(): Fixture {
  const cleanups: (() => unknown)[] = [];
  return {
    async host(options) {
      const host = await startEc2Host(options);
      cleanups.push(() => host.close());
      return host;
    },
    source({ url }, config = {}, environment = {}) {
      const [source] = ec2Source.create({ base_url: url, timeout: TIMEOUT, ...config }, sourceEnvironment(environment));
      assert.ok(source);
      cleanups.push(() => source.close?.());
      return source;
    },
    async clean() {
      for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
    },
  };
}

export const noticeIn = (answer: Answer, id: string): Reading<StatedNotice> | undefined => answer.notices?.byId[id];

/** Paths asked since the last call, without the token's. */
export function asked(host: Ec2Host): readonly string[] {
  const paths = (host.requests as Ec2Host['requests'][number][]).splice(0).map(({ path }) => path);
  return paths.filter((path) => path.startsWith(META));
}

/** A heart that hears what the source reads, with both clocks at `START` when the test begins. */
export async function heartOn(host: Ec2Host, source: Source) {
  const heart: History = history({ sources: [sourceInfo('ec2', 'platform', 2_000)] });
  host.setClockOffset(START - Date.now());
  // With nothing to stop, stopping would be stopped at once.
  heart.register(payload('pilot'));

  async function hears(): Promise<void> {
    const result = await source.read({ signal: new AbortController().signal, fresh: true, patient: true });
    heart.send({ type: 'observation', observation: { source: 'ec2', ...result } });
  }

  return {
    ...heart,
    hears,
    /** So often, two seconds apart; the host's clock goes along. */
    async hearsTimes(times: number): Promise<void> {
      for (let i = 0; i < times; i += 1) {
        await hears();
        heart.pass(2_000);
        host.setClockOffset(heart.now().wall - Date.now());
      }
    },
    to(wallMs: number): void {
      heart.until(wallMs);
      host.setClockOffset(wallMs - Date.now());
    },
  };
}
