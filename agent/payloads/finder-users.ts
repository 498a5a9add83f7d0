/** Users of the configuration → their numbers. Accounts may stand in a directory service: they are asked for, and remembered. */
import { userFinder } from '../hand/user.ts';

/** How soon a user that is not there is asked for again. */
const UNKNOWN_AGAIN_MS = 60_000;
/** A name gets another number only when an account is made anew. */
const KNOWN_AGAIN_MS = 600_000;
/** Machines that were started together must not ask a directory service together. */
const JITTER = 0.25;

export interface UserNumbers {
  readonly uid: number;
  /** The user's own group; null = not known. */
  readonly gid: number | null;
}

export interface Users {
  /** By name or number; null: not known, or not yet. Cheap; asks in the background. A user once known stays known. */
  find(user: string): UserNumbers | null;
  /** Whether the last answer was that there is no such user. */
  isUnknown(user: string): boolean;
}

interface Entry {
  numbers: UserNumbers | null;
  unknown: boolean;
  asking: boolean;
  askAtMono: number;
  readonly ask: ReturnType<typeof userFinder>;
}

/** Its memory is as large as the configuration. */
export function openUsers({ nowMono, passwdFile }: { nowMono(): number; readonly passwdFile?: string }): Users {
  const entries = new Map<string, Entry>();
  const finderOptions = passwdFile === undefined ? {} : { passwdFile };

  function entryOf(user: string): Entry {
    const before = entries.get(user);
    if (before !== undefined) return before;
    // A number needs no account; its account, if there is one, tells the group.
    const numbers = /^\d+$/.test(user) ? { uid: Number(user), gid: null } : null;
    const entry: Entry = { numbers, unknown: false, asking: false, askAtMono: 0, ask: userFinder(finderOptions) };
    entries.set(user, entry);
    return entry;
  }

  async function ask(user: string, entry: Entry): Promise<void> {
    entry.asking = true;
    try {
      const found = await entry.ask(user);
      if (found !== null) entry.numbers = { uid: found.uid, gid: found.gid };
    } finally {
      entry.asking = false;
      entry.unknown = entry.numbers === null;
      const againMs = entry.unknown ? UNKNOWN_AGAIN_MS : KNOWN_AGAIN_MS;
      entry.askAtMono = nowMono() + againMs * (1 + JITTER * Math.random());
    }
  }

  return {
    find(user) {
      const entry = entryOf(user);
      if (!entry.asking && nowMono() >= entry.askAtMono) ask(user, entry).catch(() => undefined);
      return entry.numbers;
    },
    isUnknown: (user) => entries.get(user)?.unknown ?? false,
  };
}
