/** `agent.sock` and `admin.sock`: who may open the file is who may ask. */
import { chmodSync, chownSync, lstatSync, mkdtempSync, renameSync, rmSync, unlinkSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import type { Logger } from 'pino';
import type { Channel } from './channel.ts';
import { codeOf, type Door, listening } from './listeners.ts';

/** `sun_path` of a Unix socket less its end; libuv cuts longer ones short and would listen somewhere else. */
const MAX_PATH_BYTES = 107;
/** A listener on this machine answers a connect at once or is not there. */
const CONNECT_TIMEOUT_MS = 1_000;

export function socketDoor(options: {
  readonly path: string;
  readonly mode: number;
  readonly groupId?: number;
  readonly channel: Channel;
  readonly runtimeDir: string;
  readonly log: Logger;
}): Door {
  const { path: file, mode, groupId, channel, runtimeDir, log } = options;
  return {
    name: file,
    advice: `Is another agent running with this runtime directory? Stop it, or give another one with --runtime-dir.`,
    async open(server) {
      await checkFree(file);
      // Born where nobody else can look, given its mode there, then renamed: it is never open to more than it says, and the
      // umask of the whole process stays what it is for the files that other threads are just writing.
      const cradle = mkdtempSync(path.join(runtimeDir, '.tmp', 's'));
      const born = path.join(cradle, 's');
      try {
        if (Buffer.byteLength(born) > MAX_PATH_BYTES) {
          throw Object.assign(new Error(`the path is longer than a socket's may be (${MAX_PATH_BYTES} bytes)`), {
            code: 'ENAMETOOLONG',
          });
        }
        await listening(server, () => server.listen({ path: born }));
        chmodSync(born, groupId === undefined ? mode : 0o600);
        if (groupId !== undefined) giveToGroup(born, groupId, mode, log);
        renameSync(born, file);
      } finally {
        rmSync(cradle, { recursive: true, force: true });
      }
      const { ino } = lstatSync(file);
      return { name: file, channel, remove: () => removeOwn(file, ino), intact: () => isThere(file, ino) };
    },
  };
}

/** False also where it cannot be told: a file may stand in the place of the whole directory. */
function isThere(file: string, ino: number): boolean {
  try {
    return lstatSync(file).ino === ino;
  } catch {
    return false;
  }
}

/** Without the group the socket stays the agent's own: less than asked for, never more. */
function giveToGroup(file: string, groupId: number, mode: number, log: Logger): void {
  try {
    chownSync(file, process.geteuid?.() ?? -1, groupId);
    chmodSync(file, mode);
  } catch (err) {
    log.error(
      { event: 'admin_group_failed', err, groupId },
      `cannot give admin.sock to group ${groupId}: only root and the agent's own user can be operators. Make the agent a member of that group.`,
    );
  }
}

/** Throws unless nothing is there or what is there is a socket of ours that nobody serves any more (left by a killed process). */
async function checkFree(file: string): Promise<void> {
  let stat: ReturnType<typeof lstatSync>;
  try {
    stat = lstatSync(file);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return;
    throw error;
  }
  const refuse = (code: string, message: string) => Object.assign(new Error(message), { code });
  if (!stat.isSocket()) throw refuse('EEXIST', 'something that is no socket stands there');
  if (stat.uid !== process.geteuid?.())
    throw refuse('EPERM', `a socket of another user (uid ${stat.uid}) stands there`);
  const answer = await knock(file);
  if (answer === 'ECONNREFUSED') unlinkSync(file);
  else if (answer !== 'ENOENT') throw refuse('EADDRINUSE', `it is in use (${answer})`);
}

function knock(file: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect({ path: file, timeout: CONNECT_TIMEOUT_MS });
    const end = (answer: string): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.on('connect', () => end('connected'));
    socket.on('timeout', () => end('timeout'));
    socket.on('error', (error) => end(codeOf(error)));
  });
}

/** Only what we put there: a successor may have put its own by now. */
function removeOwn(file: string, ino: number): void {
  try {
    if (lstatSync(file).ino === ino) unlinkSync(file);
  } catch {
    // Gone already.
  }
}
