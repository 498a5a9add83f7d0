/** What the hand asks of systemd, in its own or in root's name: never asking a person, never by another's search path. */
import { systemctl } from '../payloads/systemctl.ts';
import type { HandResult } from './hand.ts';
import { SAFE_PATH } from './safe-path.ts';

/** D-Bus itself gives up after 25 s; a manager that needs longer to take a job is stuck. */
const TIMEOUT_MS = 30_000;

export interface Systemctl {
  /** Directories to search it in. */
  readonly path?: string;
  /** Of our environment only the address of the bus is passed on. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** `output` is its standard output. Never rejects. Codes: `not_found`, `timeout`, `too_long`, `failed`. */
export async function ask(args: readonly string[], { path = SAFE_PATH, env }: Systemctl): Promise<HandResult> {
  const bus = env['DBUS_SYSTEM_BUS_ADDRESS'];
  const result = await systemctl(['--no-ask-password', '--quiet', ...args], {
    env: { PATH: path, ...(bus === undefined ? {} : { DBUS_SYSTEM_BUS_ADDRESS: bus }) },
    timeoutMs: TIMEOUT_MS,
  });
  return result.ok ? { ok: true, output: result.stdout } : { ok: false, code: result.code, detail: result.detail };
}

/** Until the manager has taken the jobs, not until they end. */
export const changeUnits = (verb: 'stop' | 'start', units: readonly string[], how: Systemctl): Promise<HandResult> =>
  ask([verb, '--no-block', '--', ...units], how);

export const powerOff = (how: Systemctl): Promise<HandResult> => ask(['poweroff'], how);
