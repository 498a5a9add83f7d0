/**
 * Finds the payloads that do not register themselves (`[[payload]]`): looks each second for what the configuration names, and
 * registers what is there as an ordinary payload with `origin`. What has ended is dropped by liveness.ts like any other.
 */
import path from 'node:path';
import type { Logger } from 'pino';
import type { ConfiguredPayload } from '../config/types.ts';
import type { PayloadSpec, PayloadTarget } from '../lifetime/types.ts';
import { sharedMountPoints } from '../mount-points.ts';
import type { Registration } from '../ports.ts';
import { openCgroupWatch, openUnitWatch, type UnitLookUp } from './finder-groups.ts';
import { type Known, knownOf } from './finder-known.ts';
import { openMatcher, type Wanted } from './finder-match.ts';
import { lookForPidfile } from './finder-pidfile.ts';
import { openTold } from './finder-told.ts';
import { openUsers } from './finder-users.ts';

export interface FinderOptions {
  readonly procRoot?: string;
  /** The agent: neither it nor what it starts is a payload. */
  readonly selfPid: number;
  /** How to start this very program again: by its name an `exec` is known that has not registered itself yet. */
  readonly self?: { readonly command: string; readonly args: readonly string[] };
  readonly units: UnitLookUp;
  readonly log: Logger;
  register(registration: Registration): void;
  readonly passwdFile?: string;
  /** Monotonic, ms. */
  readonly nowMono?: () => number;
}

export interface Finder {
  /** What to look for from now on. What is known of the rest is kept. */
  configure(payloads: readonly ConfiguredPayload[]): void;
  /** Each second, with every payload that there is. Never throws; units are described in the background and may come later. */
  look(specs: readonly PayloadSpec[]): void;
  stop(): void;
}

/** How a payload that was found is handed on. */
export type Report = (payload: ConfiguredPayload, uid: number, target: PayloadTarget) => void;

export function openFinder(options: FinderOptions): Finder {
  const { selfPid, log, procRoot = '/proc', nowMono = () => performance.now() } = options;
  let payloads: readonly ConfiguredPayload[] = [];
  let known: Known = knownOf([]);
  let stopped = false;
  const told = openTold(log, nowMono);
  const users = openUsers({ nowMono, ...(options.passwdFile === undefined ? {} : { passwdFile: options.passwdFile }) });
  const matcher = openMatcher({ procRoot, selfPid, told, nowMono, self: options.self });
  const context = { procRoot, selfPid, told, nowMono, known: () => known, found };
  const watches = [openUnitWatch({ ...context, units: options.units }), openCgroupWatch(context)];

  function found(payload: ConfiguredPayload, uid: number, target: PayloadTarget): void {
    if (stopped) return;
    const registration: Registration = {
      name: payload.name,
      uid,
      target,
      origin: payload.name,
      ...(payload.graceMs === null ? {} : { graceMs: payload.graceMs }),
      ...(payload.steps === null ? {} : { steps: payload.steps }),
      ...(target.kind === 'unit' ? { restartOnCancel: payload.restartOnCancel } : {}),
    };
    // First: one process that two payloads of the configuration name is the first one's.
    known.add(registration);
    options.register(registration);
  }

  function userOf({ name }: ConfiguredPayload, user: string): ReturnType<typeof users.find> {
    const owner = users.find(user);
    const isUnknown = owner === null && users.isUnknown(user);
    told(`${name}/user`, isUnknown ? 'user_unknown' : null, 'warn', {
      payload: name,
      user,
      message: `payload ${name} is not looked for: there is no user ${user} here; asked again every minute`,
    });
    return owner;
  }

  function lookForPidfiles(): void {
    const shared = payloads.some(({ find }) => find.by === 'pidfile')
      ? sharedMountPoints(path.dirname(procRoot))
      : null;
    for (const payload of payloads) {
      if (payload.find.by !== 'pidfile') continue;
      const owner = userOf(payload, payload.find.user);
      if (owner === null) continue;
      lookForPidfile(payload, payload.find.file, owner, { ...context, known, shared: shared ?? new Set() });
    }
  }

  function lookForMatches(): void {
    const wanted = payloads.flatMap((payload): readonly Wanted[] => {
      if (payload.find.by !== 'match') return [];
      const owner = userOf(payload, payload.find.user);
      return owner === null ? [] : [{ payload, uid: owner.uid, command: payload.find.command }];
    });
    matcher.look(wanted, known, found);
  }

  /** One fault must not hide the payloads of the other kinds. */
  function guarded(what: string, action: () => void): void {
    try {
      action();
      told(`${what}/fault`, null, 'error', { message: '' });
    } catch (error) {
      const message = 'a fault in the agent itself: what the configuration names is not looked for properly';
      told(`${what}/fault`, 'finder_failed', 'error', { what, err: error, message });
    }
  }

  return {
    configure(next) {
      payloads = next;
      told.keep((key) => next.some(({ name }) => key.startsWith(`${name}/`)) || key.startsWith('/'));
      for (const watch of watches) watch.configure(next);
      // Asked now, so that the first look has an answer.
      for (const { find } of next) if (find.by === 'pidfile' || find.by === 'match') users.find(find.user);
    },
    look(specs) {
      if (stopped || payloads.length === 0) return;
      known = knownOf(specs);
      watches.forEach((watch, i) => {
        guarded(`/watch-${i}`, watch.look);
      });
      guarded('/pidfiles', lookForPidfiles);
      guarded('/matches', lookForMatches);
    },
    stop() {
      stopped = true;
    },
  };
}
