/** A payload that ignores every signal but SIGKILL and writes down each one that it gets, with the time. */
import type { Ending } from '../../support/processes.ts';
import type { Zoo, ZooRecord } from '../../support/zoo.ts';
import type { PayloadPlan } from './plan.ts';

export interface Received {
  /** `leader` or `mate1`. */
  readonly member: string;
  readonly signal: string;
  readonly atMs: number;
}

export interface RecordingPayload {
  readonly plan: PayloadPlan;
  readonly pid: number;
  readonly members: readonly string[];
  received(): readonly Received[];
  /** The same with its end and who sent it. */
  records(): readonly ZooRecord[];
  /** Fulfils when all members are dead: by which signal the leader ended, and when. Bounded. */
  dead(timeoutMs: number): Promise<{ readonly by: string | null; readonly atMs: number }>;
}

let count = 0;

/** Starts one for each plan; each is ended with `t` at the latest. */
export async function startRecording(
  t: Ending,
  zoo: Zoo,
  plans: readonly PayloadPlan[],
): Promise<readonly RecordingPayload[]> {
  count += 1;
  // Many stories share a zoo.
  const named = plans.map((plan) => ({ plan, name: `${plan.name}-${count}` }));
  t.after(() => zoo.kill(named.map(({ name }) => name)));
  const born = await zoo.start(named.map(({ plan, name }) => ({ name, manner: plan.group ? 'pair' : 'ignores' })));
  return named.map(({ plan, name }) => {
    const pids = born.get(name) ?? new Map<string, number>();
    const members = [...pids.keys()];
    return {
      plan,
      pid: pids.get('leader') ?? 0,
      members,
      records: () => zoo.recordsOf(name),
      received: () =>
        zoo
          .recordsOf(name)
          .filter(({ what }) => !what.includes(':'))
          .map(({ member, what, atMs }) => ({ member, signal: what, atMs })),
      async dead(timeoutMs) {
        const records = await zoo.untilEnded(name, members, timeoutMs);
        const end = records.find(({ member, what }) => member === 'leader' && what.includes(':'));
        return { by: /^died:(.*)$/.exec(end?.what ?? '')?.[1] ?? null, atMs: end?.atMs ?? 0 };
      },
    };
  });
}
