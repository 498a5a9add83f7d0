/** A stream of bytes as lines for the log: never longer, more or faster than the log bears. */

export const LINE_LIMITS = {
  /** Of one program: a script with `set -x` needs some hundred. */
  lines: 1_000,
  /** Of one line; the rest of it is left out. */
  bytes: 2_048,
  /** Within a second. */
  perSecond: 200,
} as const;

export interface LineReader {
  take(chunk: Buffer): void;
  /** The last line may lack its line feed. */
  end(): void;
}

/**
 * Calls `onLine` for each line, without its end and never empty. `budget` is shared by the streams of one program; what is
 * over it is dropped, and the log told of that once.
 */
export function lineReader(budget: { lines: number }, onLine: (line: string) => void): LineReader {
  let held: Buffer[] = [];
  let heldBytes = 0;
  let cut = false;
  let window = 0;
  let inWindow = 0;
  let dropped = 0;

  function hold(piece: Buffer): void {
    const room = LINE_LIMITS.bytes - heldBytes;
    if (piece.length > room) cut = true;
    if (room <= 0 || piece.length === 0) return;
    // A copy, lest a few bytes keep the whole chunk in memory.
    held.push(Buffer.from(piece.subarray(0, room)));
    heldBytes += Math.min(room, piece.length);
  }

  function flush(): void {
    const text = Buffer.concat(held).toString('utf8').trimEnd();
    const line = cut ? `${text}…` : text;
    held = [];
    heldBytes = 0;
    cut = false;
    if (line !== '') give(line);
  }

  function give(line: string): void {
    const second = Math.floor(performance.now() / 1000);
    if (second !== window) {
      window = second;
      inWindow = 0;
    }
    inWindow += 1;
    if (budget.lines <= 0 || inWindow > LINE_LIMITS.perSecond) {
      dropped += 1;
      return;
    }
    budget.lines -= 1;
    onLine(line);
  }

  return {
    take(chunk) {
      let start = 0;
      for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
        hold(chunk.subarray(start, end));
        flush();
        start = end + 1;
      }
      hold(chunk.subarray(start));
    },
    end() {
      flush();
      if (dropped > 0) onLine(`(${dropped} more lines were left out)`);
      dropped = 0;
    },
  };
}
