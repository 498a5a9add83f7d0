/** Who is gone: payloads that ended without a word, and `exec` processes that died before their payload (SEMANTICS S3.8). */
import type { PayloadSpec, PayloadState, ProcessRef } from '../lifetime/types.ts';
import { createGroupDoor, type GroupDoor } from './cgroup-target.ts';
import { createKin, type Kin } from './kin.ts';
import { createMarkerReader, type MarkerReader } from './marker.ts';
import { createScanner, isProcessSpec, type ProcessSpec, type ProcessTable } from './members.ts';
import { isZombie, ProcessUnreadableError, processLives, readProcess } from './process.ts';

export interface Gone {
  /** Ids of payloads of which no process is left. */
  readonly gone: readonly string[];
  /** Ids of payloads that live while their deliverer does not. */
  readonly delivererGone: readonly string[];
  /** Ids of units that the agent has stopped and that run again. */
  readonly running: readonly string[];
}

export interface LookOptions {
  /** The rows' states by id; what is not in it is `running`. */
  readonly states?: ReadonlyMap<string, PayloadState>;
  readonly selfPid?: number;
  /** What is remembered between looks; absent = nothing. */
  readonly kin?: Kin;
  readonly door?: GroupDoor;
  /** Every process read anew; asked at most once. Throws. */
  readonly scan?: () => ProcessTable;
}

/**
 * Looks at every payload; never throws. What cannot be read counts as alive, a zombie as gone.
 *
 * A unit or control group is gone with its last process. A process that was registered with its group, or has a marker, is
 * gone when nobody is left in the group, with the marker, or of those seen before (same owner, started not before the
 * leader). A registered pid alone ends with its leader: what it leaves behind was nobody's order (S3.4 means the leader).
 * But once it is being stopped, what it leaves behind still has its SIGKILL `to all` before it.
 *
 * /proc is scanned only where a leader has ended and nobody known lives.
 */
export function findGone(specs: readonly PayloadSpec[], procRoot = '/proc', options: LookOptions = {}): Gone {
  const selfPid = options.selfPid ?? process.pid;
  const kin = options.kin ?? createKin();
  const door = options.door ?? createGroupDoor(procRoot);
  const scan = options.scan ?? (() => createScanner(procRoot, () => 0).full());
  const gone: string[] = [];
  const delivererGone: string[] = [];
  const running: string[] = [];
  let table: ProcessTable | 'unreadable' | null = null;
  let markers: MarkerReader | null = null;

  for (const spec of specs) {
    const state = options.states?.get(spec.id) ?? 'running';
    if (spec.target.kind === 'unit' && state === 'stopped') {
      if (door.state(spec.target) === 'populated') running.push(spec.id);
    } else if (!payloadLives(spec, state)) gone.push(spec.id);
    else if (spec.deliverer !== undefined && !processLives(spec.deliverer, procRoot)) delivererGone.push(spec.id);
  }
  return { gone, delivererGone, running };

  function payloadLives(spec: PayloadSpec, state: PayloadState): boolean {
    if (isProcessSpec(spec)) return leaderOrKinLive(spec, state);
    return spec.target.kind === 'process' || /^(?:populated|unknown)$/.test(door.state(spec.target));
  }

  function leaderOrKinLive(spec: ProcessSpec, state: PayloadState): boolean {
    const { leader, group, marker } = spec.target;
    if (processLives(leader, procRoot)) return true;
    if (!group && marker === undefined && state === 'running') return false;
    const isAlive = (ref: ProcessRef): boolean => isOwnAndAlive(ref, spec.uid);
    if (kin.known(spec).some(isAlive)) return true;
    const shown = takeTable();
    if (shown === 'unreadable') return true;
    // All markers together: a process's environment is read once for all payloads that have ended.
    markers ??= createMarkerReader(markersOf(specs), procRoot, selfPid);
    const marked = marker === undefined ? [] : markers.find(shown).get(marker);
    return kin.update(spec, shown, marked).some(isAlive);
  }

  function takeTable(): ProcessTable | 'unreadable' {
    try {
      table ??= scan();
    } catch {
      table = 'unreadable';
    }
    return table;
  }

  function isOwnAndAlive(ref: ProcessRef, uid: number): boolean {
    if (ref.pid <= 1 || ref.pid === selfPid) return false;
    try {
      const info = readProcess(ref.pid, procRoot);
      return (
        info !== null && info.startTicks === ref.startTicks && !isZombie(info) && info.uids.every((one) => one === uid)
      );
    } catch (error) {
      if (error instanceof ProcessUnreadableError) return true;
      throw error;
    }
  }
}

function markersOf(specs: readonly PayloadSpec[]): ReadonlySet<string> {
  return new Set(specs.flatMap(({ target }) => (target.kind === 'process' ? (target.marker ?? []) : [])));
}
