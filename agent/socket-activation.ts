/** Listeners that systemd holds for us, so that no other user can take the port while the agent restarts (sd_listen_fds(3)). */

/** The first descriptor that is passed on. */
const FIRST_FD = 3;

/** Their numbers; empty without socket activation, or where the variables were meant for another process. */
export function inheritedListeners(env: Readonly<Record<string, string | undefined>>, pid: number): readonly number[] {
  const count = Number(env['LISTEN_FDS']);
  if (Number(env['LISTEN_PID']) !== pid || !Number.isInteger(count) || count < 1) return [];
  return Array.from({ length: count }, (_, index) => FIRST_FD + index);
}
