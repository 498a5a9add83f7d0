/** The agent's hand: its own where it is root, else the root hand behind its socket, else what an ordinary user may do. */
import type { Logger } from 'pino';
import type { HooksConfig } from '../config/types.ts';
import { askHand, askHook } from './client.ts';
import type { Hand, HandResult, HookOutcome, HookRequest } from './hand.ts';
import { followProgram } from './program.ts';
import { type HandRequest, UNIT_NAME } from './protocol.ts';
import { runHook } from './run-hook.ts';
import { changeUnits, powerOff, type Systemctl } from './systemctl.ts';
import { type UserEntry, userFinder } from './user.ts';

export interface HandOptions {
  /** Of the root hand. */
  readonly socket: string;
  /** As it is now: the configuration may be read again. */
  readonly hooks: () => HooksConfig;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  /** Who the agent is (effective). */
  readonly uid: number;
  /** Writable for the agent alone, on tmpfs: where the descriptors of a hook get made. */
  readonly scratchDir: string;
  readonly procRoot?: string;
  /** Where systemctl is searched. */
  readonly path?: string;
}

/** No connection is made and nothing is read before it is asked. None of its functions rejects or throws. */
export function openHand(options: HandOptions): Hand {
  const { socket, uid, env, log } = options;
  const procRoot = options.procRoot ?? '/proc';
  const how: Systemctl = { env, ...(options.path === undefined ? {} : { path: options.path }) };
  const findUser = userFinder();
  /** root's files, and one's own: whoever may write those could do the same in our name anyway. */
  const owners = new Set([0, uid]);
  let toldMissing = false;

  /** By the root hand; where there is none, as ourselves: polkit may allow it. */
  async function byRoot(request: HandRequest, directly: () => Promise<HandResult>): Promise<HandResult> {
    if (uid === 0) return directly();
    const answer = await askHand(socket, request);
    if (answer.ok || answer.code !== 'unreachable') return answer;
    if (!toldMissing)
      log.info(
        { event: 'hand_missing', socket },
        `there is no root hand (${answer.detail}): systemd is asked directly`,
      );
    toldMissing = true;
    return directly();
  }

  async function hook(request: HookRequest): Promise<HookOutcome> {
    const hooks = options.hooks();
    if (request.resume !== undefined) {
      const as = hooks.user === null ? null : await findUser(hooks.user);
      return followProgram(request.resume, { ...request, procRoot, uid: as?.uid ?? uid });
    }
    let user: UserEntry | null = null;
    if (hooks.user !== null) {
      user = await findUser(hooks.user);
      if (user === null) return { is: 'not_run', code: 'refused', detail: `there is no user ${hooks.user}` };
      if (user.uid !== uid && uid !== 0) return othersHook(request, user);
    }
    const direct = user === null || user.uid === uid ? null : user;
    return runHook(request, {
      hooks,
      owners,
      user: direct,
      home: user?.home ?? env['HOME'] ?? '/',
      scratchDir: options.scratchDir,
      procRoot,
    });
  }

  async function othersHook(request: HookRequest, user: UserEntry): Promise<HookOutcome> {
    const outcome = await askHook(socket, request);
    if (outcome.is !== 'not_run' || outcome.code !== 'unreachable') return outcome;
    const detail = `only root can run it as ${user.name}, and there is no root hand (${outcome.detail})`;
    return { ...outcome, detail };
  }

  return {
    async units(verb, units) {
      // systemctl takes patterns, and everything for an empty list.
      const odd = units.length === 0 ? 'nothing' : units.find((unit) => !UNIT_NAME.test(unit));
      if (odd !== undefined) return { ok: false, code: 'refused', detail: `${odd} is not the full name of a unit` };
      return byRoot({ verb: 'units', action: verb, units }, () => changeUnits(verb, units, how));
    },
    powerOff: () => byRoot({ verb: 'power_off' }, () => powerOff(how)),
    hook,
  };
}
