/** What the journal says at the moment of a crash, read as plainly as possible and not by the code that is on trial. */
import fs from 'node:fs';
import path from 'node:path';

export type MarkState = 'issued' | 'done' | 'skipped' | 'repeat' | 'refused';

export interface JournalSays {
  /** By payload id and signal: `issued` is the intent, written before the signal goes out. */
  readonly steps: ReadonlyMap<string, MarkState>;
  /** Steps that were sent once more after a crash, and counted: what this journal says of them is about the second time. */
  readonly uncertain: ReadonlySet<string>;
  readonly payloads: ReadonlySet<string>;
  /** The host's announcement stands in it. */
  readonly knowsDeadline: boolean;
}

interface Line {
  readonly put?: string;
  readonly v?: {
    readonly episode?: {
      readonly marks: readonly {
        readonly step: { readonly signal: string };
        readonly state: MarkState;
        readonly uncertain?: boolean;
      }[];
    } | null;
    readonly keys?: { readonly machine: Readonly<Record<string, { readonly value: string }>> };
  } | null;
  readonly done?: { readonly id: string; readonly step: { readonly signal: string } };
}

/** A checksum of eight digits and a blank stand before the JSON of each line. */
const PREFIX_CHARS = 9;

export const stepKey = (id: string, signal: string): string => `${id} ${signal}`;

export function readJournal(dir: string): JournalSays {
  const steps = new Map<string, MarkState>();
  const uncertain = new Set<string>();
  const payloads = new Set<string>();
  let knowsDeadline = false;
  for (const { put, v, done } of lines(path.join(dir, 'journal.log'))) {
    if (done !== undefined) steps.set(stepKey(done.id, done.step.signal), 'done');
    if (put === 'source/directory') knowsDeadline = v?.keys?.machine['shutdowntime'] !== undefined;
    if (put?.startsWith('payload/') !== true) continue;
    const id = put.slice('payload/'.length);
    if (v === null || v === undefined) {
      // Gone; what was done to it stays true.
      payloads.delete(id);
      continue;
    }
    payloads.add(id);
    for (const key of [...steps.keys()]) if (key.startsWith(`${id} `)) steps.delete(key);
    for (const mark of v.episode?.marks ?? []) {
      const key = stepKey(id, mark.step.signal);
      steps.set(key, mark.state);
      if (mark.uncertain === true) uncertain.add(key);
    }
  }
  return { steps, uncertain, payloads, knowsDeadline };
}

/** Without the header and a torn last line. */
function lines(file: string): readonly Line[] {
  if (!fs.existsSync(file)) return [];
  const text = fs.readFileSync(file, 'utf8');
  const whole = text.slice(0, text.lastIndexOf('\n') + 1).split('\n');
  return whole.slice(1, -1).map((line) => JSON.parse(line.slice(PREFIX_CHARS)) as Line);
}
