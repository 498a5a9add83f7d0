/**
 * S1.2, S1.4, S1.6 and S1.8 once more, as small as they can be said: one directory with two sides, one spot notice, the
 * operator. Shares nothing with the heart, so that both would have to be wrong in the same way.
 */
export type KeySaid = number | 'garbage' | 'absent';
export interface DirectorySaid {
  readonly channel: string;
  readonly machine: Readonly<Record<'shutdowntime' | 'total_cpu', KeySaid>>;
  readonly job: Readonly<Record<'shutdowntime_job', KeySaid>>;
}
type SpotSaid = number | 'absent' | 'negative' | 'unknown';

interface Known {
  ms: number;
  misses: number;
  missedSince: number;
}
interface Spot extends Known {
  goneAt: number | null;
  onlyEarlier: boolean;
}

const MISSES = 3;
const MISSED_FOR_MS = 3_000;
const SAME_FOR_MS = 600_000;

export type Model = ReturnType<typeof model>;

export function model() {
  const sides = { machine: new Map<string, Known>(), job: new Map<string, Known>() };
  const channels = new Map<string, string>();
  const operator = new Map<string, number>();
  let spot: Spot | null = null;

  const all = (): Known[] => [...sides.machine.values(), ...sides.job.values(), ...(spot ? [spot] : [])];
  const unbroken = (known: Iterable<Known>): void => {
    for (const each of known) each.misses = 0;
  };
  function missed(known: Known, mono: number): boolean {
    if (known.misses === 0) known.missedSince = mono;
    known.misses += 1;
    return known.misses >= MISSES && mono - known.missedSince >= MISSED_FOR_MS;
  }

  return {
    directory(said: DirectorySaid, mono: number): void {
      const nothing = (side: 'machine' | 'job') => Object.values(said[side]).every((value) => value === 'absent');
      const held = sides.machine.size + sides.job.size;
      const allLost = held >= 2 && nothing('machine') && nothing('job');
      for (const side of ['machine', 'job'] as const) {
        const known = sides[side];
        const elsewhere = channels.has(side) && channels.get(side) !== said.channel;
        if (nothing(side) && known.size > 0 && (elsewhere || allLost || known.size >= 2)) {
          unbroken(known.values());
          continue;
        }
        let told = Object.values(said[side]).every((value) => value === 'absent') && known.size === 0;
        for (const [key, value] of Object.entries(said[side])) {
          const old = known.get(key);
          if (typeof value === 'number') known.set(key, { ms: value, misses: 0, missedSince: 0 });
          else if (old && (value === 'garbage' || elsewhere)) old.misses = 0;
          else if (old && missed(old, mono)) known.delete(key);
          // Elsewhere only what is there tells anything.
          if (typeof value === 'number' || (value === 'absent' && old && !elsewhere)) told = true;
        }
        if (told) channels.set(side, said.channel);
      }
    },
    spot(said: SpotSaid, now: { wall: number; mono: number }): void {
      if (spot?.goneAt != null && now.wall - spot.goneAt > SAME_FOR_MS) spot = null;
      if (typeof said === 'number') {
        const binding = spot?.onlyEarlier && !(spot.goneAt !== null && spot.ms <= now.wall);
        const ms = spot && binding ? Math.min(spot.ms, said) : said;
        spot = { ms, misses: 0, missedSince: 0, goneAt: null, onlyEarlier: true };
      } else if (spot !== null && spot.goneAt === null) {
        if (said === 'unknown') spot.misses = 0;
        else if (said === 'negative' || missed(spot, now.mono)) spot = { ...spot, misses: 0, goneAt: now.wall };
      }
    },
    failed(source: 'directory' | 'ec2'): void {
      if (source === 'ec2') unbroken(spot ? [spot] : []);
      else unbroken([...sides.machine.values(), ...sides.job.values()]);
    },
    operator(id: string, ms: number | null): void {
      if (ms === null) operator.delete(id);
      else operator.set(id, ms);
    },
    rebooted(): void {
      unbroken(all());
      channels.clear();
      if (spot) spot.onlyEarlier = false;
    },
    clockStepped(byMs: number, bootBefore: number): void {
      if (spot?.goneAt != null && spot.goneAt >= bootBefore) spot.goneAt += byMs;
    },
    /** Of all that is in force the earliest, but for what lies before this boot. */
    deadline(bootMs: number): number | null {
      const times = [...operator.values()];
      for (const [key, { ms }] of [...sides.machine, ...sides.job]) if (key !== 'total_cpu') times.push(ms);
      if (spot?.goneAt === null) times.push(spot.ms);
      const ahead = times.filter((ms) => ms >= bootMs);
      return ahead.length === 0 ? null : Math.min(...ahead);
    },
  };
}
