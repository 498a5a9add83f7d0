/** `mjf-agent watch` on a terminal: a picture that is drawn anew with each change and each second, until `q`. */

import { escapeLine } from '../escape.ts';
import { EXIT } from '../exit-codes.ts';
import { openLive } from '../terminal/live.ts';
import { lookOf } from '../terminal/look.ts';
import type { Output } from './command.ts';
import { follow } from './follow.ts';
import type { LifetimeDocument } from './lifetime-document.ts';
import { refusal } from './outcome.ts';
import { ownPayloads, type PayloadRow } from './own-payloads.ts';
import { watchFrame } from './watch-frame.ts';
import { changeLine } from './watch-line.ts';

/** A daemon that is stopped, or a machine that swaps, must be seen soon: the clock beside it goes on. */
const HANG_SECS = 10;
/** What payloads say of themselves moves without a change of the truth; each look costs the daemon a table of sockets. */
const ROWS_EVERY_MS = 10_000;
/** After a change they are looked at soon, but payloads that say something ten times a second do not ask for ten looks. */
const ROWS_GAP_MS = 1_000;
/** More than any terminal shows. */
const MOST_CHANGES = 200;
/** Wider than any terminal: a host that changes all its keys at once makes a line of a megabyte. */
const LONGEST_CHANGE = 2_000;
const SECOND_MS = 1000;

export interface LiveWatch {
  readonly runtimeDir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: NodeJS.WriteStream & { readonly fd: number };
  readonly stdin: NodeJS.ReadStream;
}

/** Gives the exit code; what ended before it began is told as in a pipe. */
export async function watchLive({ runtimeDir, env, stdout, stdin }: LiveWatch, output: Output): Promise<number> {
  const over = new AbortController();
  const { signal } = over;
  const changes: string[] = [];
  let lifetime: LifetimeDocument | undefined;
  let payloads: readonly PayloadRow[] = [];
  let lostSinceMs: number | null = null;
  let view: ReturnType<typeof openLive> | undefined;
  let ticking: NodeJS.Timeout | undefined;
  let isLooking = false;
  let isWanted = false;
  let lookTimer: NodeJS.Timeout | undefined;

  function draw(): void {
    // An answer that comes after `q` must not start the clock again.
    if (view === undefined || lifetime === undefined || signal.aborted) return;
    const { columns, rows } = view.size();
    const nowMs = Date.now();
    view.draw(
      watchFrame({ lifetime, payloads, changes, lostSinceMs }, nowMs, { ...lookOf(stdout, env), columns }, rows),
    );
    clearTimeout(ticking);
    // Where the next second begins: seconds are neither skipped nor shown twice.
    ticking = setTimeout(draw, SECOND_MS - (nowMs % SECOND_MS));
  }
  function tell(line: string | undefined): void {
    if (line === undefined) return;
    // Through bytes: a part of a string holds all of it.
    changes.push(line.length <= LONGEST_CHANGE ? line : `${Buffer.from(line.slice(0, LONGEST_CHANGE)).toString()}…`);
    if (changes.length > MOST_CHANGES) changes.shift();
  }
  async function refreshRows(): Promise<void> {
    if (isLooking) {
      isWanted = true;
      return;
    }
    isLooking = true;
    isWanted = false;
    payloads = await ownPayloads(runtimeDir, signal);
    draw();
    if (signal.aborted) return;
    lookTimer = setTimeout(() => {
      isLooking = false;
      if (isWanted) void refreshRows();
    }, ROWS_GAP_MS);
  }
  const rowsTimer = setInterval(() => void refreshRows(), ROWS_EVERY_MS);
  try {
    for await (const event of follow({ runtimeDir, hangSecs: HANG_SECS, signal })) {
      if (event.is === 'refused') return refusal(event.answer, runtimeDir, output);
      if (event.is === 'lost') lostSinceMs = Date.now();
      else if (event.is === 'back') lostSinceMs = null;
      else {
        tell(changeLine(lifetime, event.lifetime, Date.now()));
        lifetime = event.lifetime;
        void refreshRows();
      }
      view ??= openLive({ stdout, stdin, env, onRedraw: draw, onQuit: () => over.abort() });
      draw();
    }
    return EXIT.ok;
  } finally {
    clearTimeout(ticking);
    clearInterval(rowsTimer);
    clearTimeout(lookTimer);
    view?.close();
    const last = changes.at(-1);
    // What was seen last stays in the terminal's history.
    if (view !== undefined && last !== undefined) output.out(`${escapeLine(last)}\n`);
  }
}
