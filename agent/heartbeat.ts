/**
 * The loop around the heart: one input after the other, a timer for what changes by itself, and an eye on the clocks
 * (SYSTEMS.md, "Time"; SEMANTICS S4.2). The daemon and `exec` both live on it.
 */
import type { Clock } from './clock.ts';
import type { State } from './lifetime/state.ts';
import { step } from './lifetime/step.ts';
import type { Input, Instant, StepResult } from './lifetime/types.ts';

/** Never sleep longer: timers of Node know neither suspend nor clock steps, so the clocks are compared this often. */
export const TICK_MS = 1_000;
/** S4.2: a jump of the wall clock, or a tick later than this, means that the world may have changed meanwhile. */
const JUMP_MS = 30_000;
/** S4.2: how long the sources get to say what is true now before anything is done after a jump. */
const JUMP_HOLD_MS = 2_000;

export interface HeartbeatOptions {
  readonly clock: Clock;
  readonly state: State;
  /** Runs the effects, in their order. Inputs submitted meanwhile wait. */
  carryOut(result: StepResult<State>, now: Instant): void;
  /** A defect: an input that the heart or an effect choked on. The state before it stands. */
  onError(error: unknown, input: Input): void;
  /** About each second, for what must be looked at (payloads alive, files touched). */
  onTick?(now: Instant): void;
  /** After a jump: ask every source; what it submits is judged together with the new time. */
  onJump(jump: { readonly kind: 'suspend' | 'clock_step' | 'late'; readonly byMs: number }): Promise<unknown>;
}

export interface Heartbeat {
  submit(input: Input): void;
  state(): State;
  /** Ends the timer; what is submitted later is ignored. */
  stop(): void;
  /** When the loop last ran: liveness. */
  lastTickMono(): number;
}

interface Jump {
  readonly kind: 'suspend' | 'clock_step' | 'late';
  readonly byMs: number;
  /** The wall clock was set, whatever else happened. */
  readonly stepped: boolean;
}

export function startHeartbeat(options: HeartbeatOptions): Heartbeat {
  const { clock } = options;
  let state = options.state;
  let wake: StepResult<State>['wakeAt'] = { wall: null, mono: null };
  let timer: NodeJS.Timeout | undefined;
  let busy = false;
  let stopped = false;
  let held: Input[] | null = null;
  /** After an error there is no tick for what is due before this. */
  let notBeforeMono = Number.NEGATIVE_INFINITY;
  const waiting: Input[] = [];
  let last = { ...clock.now(), boot: clock.bootMs() };
  /** Fixed by the last look alone: inputs that come more often than once a second must not put it off for ever. */
  const nextLookMono = (): number => last.mono + TICK_MS;

  function submit(input: Input): void {
    if (stopped) return;
    if (held !== null) {
      held.push(input);
      return;
    }
    // It comes in the second before the next look: the heart must not judge it by a clock that has just been set.
    const now = clock.now();
    const jump = busy ? null : jumped(now);
    if (jump !== null) {
      looked(now);
      hold(jump, now, input);
      return;
    }
    enter(input);
  }

  function enter(input: Input): void {
    waiting.push(input);
    if (busy) return;
    busy = true;
    try {
      for (let next = waiting.shift(); next !== undefined && !stopped; next = waiting.shift()) {
        const now = clock.now();
        try {
          const result = step(state, next, now);
          state = result.state;
          wake = result.wakeAt;
          options.carryOut(result, now);
        } catch (error) {
          // What is due stays due where the heart itself choked: asking again at once would only spin. Fixed by a tick alone:
          // inputs that fail more often than once a second must not put it off for ever.
          if (next.type === 'tick') notBeforeMono = now.mono + TICK_MS;
          // A fault of ours in one input must not cost the others, nor the process (promise 5).
          options.onError(error, next);
        }
      }
    } finally {
      busy = false;
    }
    arm();
  }

  function arm(): void {
    if (stopped) return;
    clearTimeout(timer);
    timer = setTimeout(tick, untilNext());
  }

  function untilNext(): number {
    const now = clock.now();
    // What is due while inputs are held back stays due: asking again at once would only spin.
    const wall = held === null && wake.wall !== null ? wake.wall - now.wall : TICK_MS;
    const mono = held === null && wake.mono !== null ? wake.mono - now.mono : TICK_MS;
    return Math.max(
      0,
      Math.ceil(Math.min(TICK_MS, nextLookMono() - now.mono, Math.max(Math.min(wall, mono), notBeforeMono - now.mono))),
    );
  }

  function tick(): void {
    const now = clock.now();
    const look = now.mono >= nextLookMono();
    const jump = look ? jumped(now) : null;
    if (look) looked(now);
    if (jump !== null && held === null) {
      hold(jump, now);
      return;
    }
    // Another one while the sources are being asked: what it means for the clock is judged with them.
    if (jump?.stepped && held !== null) held.push(clockChanged(now));
    if (
      held === null &&
      now.mono >= notBeforeMono &&
      ((wake.wall !== null && now.wall >= wake.wall) || (wake.mono !== null && now.mono >= wake.mono))
    )
      submit({ type: 'tick' });
    try {
      if (look) options.onTick?.(now);
    } catch (error) {
      options.onError(error, { type: 'tick' });
    }
    arm();
  }

  const clockChanged = (now: Instant): Input => ({
    type: 'clock_changed',
    bootWallMs: now.wall - clock.bootMs(),
  });

  const looked = (now: Instant): void => {
    last = { ...now, boot: clock.bootMs() };
  };

  function jumped(now: Instant): Jump | null {
    const boot = clock.bootMs();
    const before = last;
    const slept = boot - before.boot - (now.mono - before.mono);
    const byMs = now.wall - before.wall - (boot - before.boot);
    const stepped = Math.abs(byMs) > JUMP_MS;
    // A machine that wakes up may find its clock wrong as well.
    if (slept > JUMP_MS) return { kind: 'suspend', byMs: slept, stepped };
    if (stepped) return { kind: 'clock_step', byMs, stepped };
    const late = now.mono - before.mono - TICK_MS;
    return late > JUMP_MS ? { kind: 'late', byMs: late, stepped } : null;
  }

  /** Nothing is done until the sources have had their say, or two seconds have passed; then all of it at once. */
  function hold(jump: Jump, now: Instant, first?: Input): void {
    const inputs: Input[] = [];
    held = inputs;
    // Where boot lies on the corrected clock: a deadline "before this boot" depends on it (S1.8).
    if (jump.stepped) inputs.push(clockChanged(now));
    if (first !== undefined) inputs.push(first);
    let bound: NodeJS.Timeout | undefined;
    const release = (): void => {
      if (held !== inputs) return;
      clearTimeout(bound);
      held = null;
      enter({ type: 'together', inputs });
    };
    bound = setTimeout(release, JUMP_HOLD_MS);
    options.onJump(jump).then(release, release);
    arm();
  }

  arm();
  return {
    submit,
    state: () => state,
    stop() {
      // What was taken while time had jumped is entered, else it would be neither done nor in the journal.
      const inputs = held;
      held = null;
      if (inputs !== null) enter({ type: 'together', inputs });
      stopped = true;
      clearTimeout(timer);
    },
    lastTickMono: () => last.mono,
  };
}
