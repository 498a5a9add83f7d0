/** What the end of a payload means to the site (mjf.md, "VM to site"): exit code or signal → last word. Pure. */
import { constants } from 'node:os';
import type { FinalWord } from '../lifetime/types.ts';
import { FAULT_CODE } from '../lifetime/words.ts';

/** How it ended. `stopped`: its deadline's escalation had begun. */
export interface PayloadEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stopped: boolean;
}

/** Keys `0` to `255`, `signal`, and `other` for each exit code above 0 that is not named. */
export type Codes = Readonly<Record<string, FinalWord>>;

const REQUESTED: FinalWord = { code: 100, text: 'Shutdown as requested by the host' };
const COMPLETED: FinalWord = { code: 200, text: 'Intended work completed' };
/** mjf.md: "transient problem". What an exit code means only its payload knows. */
const FAILED_CODE = 700;
/** sysexits.h: who ends so has saved his work and wants to go on elsewhere. */
const EX_TEMPFAIL = 75;
/** A shell tells by it that its child was ended by a signal. */
const SIGNAL_CODES: ReadonlySet<number> = new Set(Object.values(constants.signals).map((number) => 128 + number));

/**
 * The last word of a payload that says none itself. Whom the host has stopped is not asked for his success: he has failed
 * only if his exit code says so, by its nature or because a mapping names that very code as a fault. `signal` and `other`
 * are about accidents: ended by the signals of an orderly stop nobody has had one.
 */
export function finalWordOf(end: PayloadEnd, codes: Codes): FinalWord {
  const mapped = (key: string): FinalWord | undefined => (Object.hasOwn(codes, key) ? codes[key] : undefined);
  const { code, signal, stopped } = end;
  if (signal !== null) return stopped ? REQUESTED : (mapped('signal') ?? failed(`Payload was ended by ${signal}`));
  const exit = code ?? 0;
  const named = mapped(String(exit));
  if (!stopped) {
    if (exit === 0) return named ?? COMPLETED;
    return named ?? mapped('other') ?? failed(`Payload ended with exit code ${exit}`);
  }
  const isOrderly = exit === 0 || exit === EX_TEMPFAIL || SIGNAL_CODES.has(exit);
  const word = named ?? (isOrderly ? undefined : mapped('other'));
  if (word === undefined)
    return isOrderly ? REQUESTED : failed(`Payload ended with exit code ${exit} while it was being stopped`);
  return word.code >= FAULT_CODE ? word : REQUESTED;
}

const failed = (text: string): FinalWord => ({ code: FAILED_CODE, text });
