/** What the demo shows: one bar that moves on a terminal, plain lines elsewhere. */
import { formatDuration } from '../duration.ts';

/** Wide enough to see it move, narrow enough for an 80-column terminal with the text beside it. */
const BAR_WIDTH = 40;
/** In a pipe the countdown is said this often, not each tick. */
const PLAIN_EVERY_MS = 5_000;

export interface Screen {
  /** A thing that happened. */
  say(line: string): void;
  /** How things stand: called often. */
  countdown(state: { readonly phase: string; readonly remainingMs: number; readonly totalMs: number }): void;
  end(): void;
}

export function createScreen(
  out: { write(text: string): unknown; readonly isTTY?: boolean },
  nowMs: () => number,
): Screen {
  const started = nowMs();
  const clear = out.isTTY ? '\r\u001b[K' : '';
  let bar = '';
  let saidMs = Number.NEGATIVE_INFINITY;
  return {
    say(line) {
      const at = ((nowMs() - started) / 1000).toFixed(1).padStart(5);
      out.write(`${clear}${at} s  ${line}\n${bar}`);
    },
    countdown({ phase, remainingMs, totalMs }) {
      if (out.isTTY) {
        const share = Math.max(0, Math.min(1, remainingMs / totalMs));
        const full = Math.round(share * BAR_WIDTH);
        bar = `         ${'█'.repeat(full)}${'░'.repeat(BAR_WIDTH - full)}  ${(remainingMs / 1000).toFixed(0).padStart(3)} s  ${phase}`;
        out.write(clear + bar);
      } else if (nowMs() - saidMs >= PLAIN_EVERY_MS) {
        saidMs = nowMs();
        this.say(`${formatDuration(remainingMs)} left, ${phase}`);
      }
    },
    end() {
      if (out.isTTY && bar !== '') out.write(clear);
      bar = '';
    },
  };
}
