/** The process that a pidfile names, where the file can be believed (SYSTEMS.md, "Signals"). */
import type { ConfiguredPayload } from '../config/types.ts';
import type { ProcessRef } from '../lifetime/types.ts';
import type { Report } from './finder.ts';
import type { Known } from './finder-known.ts';
import type { Told } from './finder-told.ts';
import type { UserNumbers } from './finder-users.ts';
import { readPidfile } from './pidfile.ts';
import { isKernelThread, isZombie, ProcessUnreadableError, readProcess } from './process.ts';

export interface PidfileContext {
  readonly procRoot: string;
  readonly selfPid: number;
  readonly told: Told;
  readonly known: Known;
  readonly found: Report;
  /** Mount points of file systems that may hang. */
  readonly shared: ReadonlySet<string>;
}

type Named =
  | { readonly is: 'process'; readonly leader: ProcessRef }
  | { readonly is: 'none'; readonly event: string; readonly level: 'debug' | 'info' | 'warn'; readonly why: string };

/** Reads the file and reports its process, unless that is a payload already. */
export function lookForPidfile(
  payload: ConfiguredPayload,
  file: string,
  user: UserNumbers,
  context: PidfileContext,
): void {
  const { told, known, found } = context;
  const { name } = payload;
  const named = processNamedBy(file, user, context);
  if (named.is === 'none') {
    const message = `payload ${name} is not found: ${named.why}`;
    told(`${name}/pidfile`, named.event, named.level, { payload: name, message });
    return;
  }
  told(`${name}/pidfile`, null, 'debug', { message: '' });
  const { leader } = named;
  if (known.leaderOf(leader) !== undefined) return;
  found(payload, user.uid, { kind: 'process', leader, group: payload.group });
}

/**
 * A pid that was given to another process of the same user since cannot be told from the right one: clocks step, so that
 * the age of the file proves nothing.
 */
function processNamedBy(file: string, user: UserNumbers, { procRoot, selfPid, shared }: PidfileContext): Named {
  const none = (event: string, level: 'debug' | 'info' | 'warn', why: string): Named => ({
    is: 'none',
    event,
    level,
    why,
  });
  const reading = readPidfile(file, user, shared);
  if (reading.is === 'absent') return none('pidfile_absent', 'debug', `there is no ${file}`);
  if (reading.is === 'refused') {
    // One that is just being written is empty.
    return none(`pidfile_${reading.code}`, reading.code === 'no_pid' ? 'info' : 'warn', reading.detail);
  }
  const { pid } = reading;
  if (pid === 1 || pid === selfPid) return none('pidfile_not_a_payload', 'warn', `${file} names process ${pid}`);
  try {
    const info = readProcess(pid, procRoot);
    if (info === null || isZombie(info)) return none('pidfile_stale', 'info', `process ${pid} of ${file} has ended`);
    if (isKernelThread(info)) return none('pidfile_not_a_payload', 'warn', `${file} names a thread of the kernel`);
    if (info.uids.every((uid) => uid === user.uid)) {
      return { is: 'process', leader: { pid, startTicks: info.startTicks } };
    }
    return none('pidfile_other_owner', 'warn', `process ${pid} of ${file} is another user's: the file may be stale`);
  } catch (error) {
    if (error instanceof ProcessUnreadableError) return none('pidfile_hidden', 'warn', error.message);
    throw error;
  }
}
