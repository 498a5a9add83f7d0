/**
 * Which events are about this machine. Azure delivers an event to every machine of a scale set or availability set, so that
 * only `Resources` tells for whom it is, and only `instance/compute` tells this machine's name there.
 *
 * As long as the name is not known an event may be neither lost nor obeyed by mistake: the guest's own host name, which is
 * mostly the same, may claim it; else it is unknown until `compute` answers. Only where the service has no `compute` at all
 * (404), so that nobody will ever tell, every event counts after a while: an eviction that was missed costs all the work.
 */
import fs from 'node:fs';
import path from 'node:path';

export interface OwnName {
  readonly isKnown: () => boolean;
  learn(name: string): void;
  /** `nobody`: the service has no such endpoint (404); `failed`: it did not answer this time. */
  cannotTell(why: 'nobody' | 'failed'): void;
  /** `presumed`: nobody tells names, and none is known after `PRESUME_AFTER_MS`. */
  owns(resources: readonly string[]): 'yes' | 'no' | 'unknown' | 'presumed';
  /**
   * Whose word an event with these `Resources` waits for: this machine's alone, that of several, or not this one's. Only by the
   * name that is known: one that is guessed may claim an eviction, but not release a machine.
   */
  awaitedBy(resources: readonly string[]): 'own' | 'shared' | 'nobody' | 'unknown';
  /** Fulfilled when the name is known, at the latest after `atMostMs`. */
  wait(atMostMs: number): Promise<void>;
}

export interface OwnNameOptions {
  /** `[source.azure] name`: rules over what the platform says. */
  readonly configured?: string | undefined;
  /** Where `/proc` begins. */
  readonly root: string;
  /** Monotonic, ms. */
  readonly nowMs?: () => number;
}

/** Five attempts at `compute`, and still two thirds of the shortest notice (30 s) left. */
export const PRESUME_AFTER_MS = 10_000;

/** Names are compared without case, as Azure does. */
export function createOwnName({ configured, root, nowMs = () => performance.now() }: OwnNameOptions): OwnName {
  let known = configured;
  /** Since when the service has said, without a break, that there is nobody to ask. */
  let nobodySinceMs: number | undefined;
  const waiting = new Set<() => void>();

  return {
    isKnown: () => known !== undefined,
    learn(name) {
      known = configured ?? name;
      nobodySinceMs = undefined;
      for (const done of waiting) done();
    },
    cannotTell(why) {
      nobodySinceMs = why === 'nobody' ? (nobodySinceMs ?? nowMs()) : undefined;
    },
    owns(resources) {
      const own = known;
      if (own !== undefined) return resources.some((name) => same(name, own)) ? 'yes' : 'no';
      const hostName = readHostName(root);
      if (hostName !== undefined && resources.some((name) => isHostName(name, hostName))) return 'yes';
      return nobodySinceMs !== undefined && nowMs() - nobodySinceMs >= PRESUME_AFTER_MS ? 'presumed' : 'unknown';
    },
    awaitedBy(resources) {
      const own = known;
      if (own === undefined) return 'unknown';
      if (!resources.some((name) => same(name, own))) return 'nobody';
      return resources.length === 1 ? 'own' : 'shared';
    },
    wait(atMostMs) {
      if (known !== undefined) return Promise.resolve();
      return new Promise((resolve) => {
        const done = (): void => {
          clearTimeout(timer);
          waiting.delete(done);
          resolve();
        };
        const timer = setTimeout(done, atMostMs);
        timer.unref();
        waiting.add(done);
      });
    },
  };
}

const same = (a: string, b: string): boolean => a.trim().toLowerCase() === b.trim().toLowerCase();

/** A kernel file: no wait. Undefined where it cannot be read. */
function readHostName(root: string): string | undefined {
  try {
    const [short = ''] = fs.readFileSync(path.join(root, 'proc/sys/kernel/hostname'), 'utf8').trim().split('.');
    return short === '' ? undefined : short;
  } catch {
    return undefined;
  }
}

/** The name itself, or that of a uniform scale set's instance: `workers_11` calls itself `workers00000B` (base 36). */
function isHostName(resource: string, hostName: string): boolean {
  if (same(resource, hostName)) return true;
  const [, set, number] = /^(.+)_(\d{1,9})$/.exec(resource.trim()) ?? [];
  return set !== undefined && same(set + Number(number).toString(36).padStart(6, '0'), hostName);
}
