/** How the program of a hook step ended, in words for the site (SEMANTICS S5.3): its name and what became of it, and no more. */
import type { HookOutcome } from '../hand/hand.ts';

/** A line of a file that sites show in tables. */
const MAX_CHARS = 120;
/** Leaves room for what became of it. */
const MAX_NAME_CHARS = 64;

/** `late`: no time was left to begin it. `crowded`: too many waited before it. `lost`: by our own fault. */
export type StepEnd = HookOutcome | { readonly is: 'late' | 'crowded' | 'lost' };

/**
 * null: well. undefined: nobody knows, since it was followed and not started by this agent. A program that could not be run
 * has saved nothing either, whoever is to blame for that. Printable ASCII; never a path.
 */
export function hookFailure(file: string, end: StepEnd): string | null | undefined {
  const what = fate(end);
  if (what === null || what === undefined) return what;
  const name = file.split('/').at(-1) ?? '';
  return `${name.slice(0, MAX_NAME_CHARS)} ${what}`.replace(/[^\x20-\x7e]/g, '?').slice(0, MAX_CHARS);
}

function fate(end: StepEnd): string | null | undefined {
  switch (end.is) {
    case 'late':
      return 'was not run: its time was over';
    case 'crowded':
      return 'was not run: too many others wait';
    case 'lost':
      return 'was not run: a fault of the agent';
    case 'not_run':
      return `was not run: ${end.code}`;
    case 'timeout':
      return 'was ended: its time was over';
    case 'ended':
      if (end.signal !== null) return `was ended by ${end.signal}`;
      if (end.code === null) return undefined;
      return end.code === 0 ? null : `ended with exit code ${end.code}`;
  }
}
