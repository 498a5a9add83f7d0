/**
 * What the parts of one source gave, name by name: what of it the heart has not been told yet, and what the parts say
 * together of a name that several of them give.
 */
import type { Answer, FeatureReading, Pointers, Reading, Side, StatedNotice } from '../lifetime/types.ts';
import type { Part, PartReport } from './parts.ts';
import type { SourceError } from './source.ts';

/** The books of one part. Changed by the functions below alone. */
export interface Ledger {
  readonly part: Part;
  readonly notices: Book<StatedNotice>;
  readonly machine: Book<string>;
  readonly job: Book<string>;
  readonly derivedMachine: Book<string>;
  readonly derivedJob: Book<string>;
  pointers: Pointers;
  clock: { readonly hostNowMs: number; readonly atMs: number } | undefined;
  /** What is wrong with the part now. */
  fault: SourceError | undefined;
  /** The code of the failure that the heart was told of last, until it was told that the part is well. */
  toldFault: string | undefined;
  /** It has ever given a good report. */
  isHeard: boolean;
  /** It has given one that the heart has not been told … */
  hasNews: boolean;
  /** … and for which the platform was asked. */
  hasGoodNews: boolean;
  /** Of what its last good report listed all there is, and whether the heart was told so. */
  readonly lists: Record<Listed, 'nothing' | 'own' | 'whole' | 'cut'>;
  readonly listsTold: Record<Listed, boolean>;
}

type Listed = 'notices' | 'keys';
interface Entry<T> {
  readonly reading: Reading<T>;
  readonly untold: boolean;
  /** How often running it was reported not to be there, since when (monotonic), and whether the heart was told. */
  readonly gone: { readonly times: number; readonly sinceMs: number; readonly told: boolean } | undefined;
}
type Book<T> = Map<string, Entry<T>>;
const KEY_BOOKS = ['machine', 'job', 'derivedMachine', 'derivedJob'] as const;

/** A host that invents ids must not fill the memory: so many are remembered besides those of a part's last report. */
const MAX_OLD_NAMES = 512;
/** By then the heart has cleared it (S1.6: 3 answers over 3 s), even where half of the answers went astray. */
const FORGET_AFTER_TIMES = 10;
const FORGET_AFTER_MS = 60_000;

export const openLedger = (part: Part): Ledger => ({
  part,
  notices: new Map(),
  machine: new Map(),
  job: new Map(),
  derivedMachine: new Map(),
  derivedJob: new Map(),
  pointers: {},
  clock: undefined,
  fault: undefined,
  toldFault: undefined,
  isHeard: false,
  hasNews: false,
  hasGoodNews: false,
  lists: { notices: 'nothing', keys: 'nothing' },
  listsTold: { notices: false, keys: false },
});

/** A good report, at `nowMs` (monotonic). */
export function enterReport(ledger: Ledger, report: PartReport, nowMs: number): void {
  const { others, whole, unasked, isCut } = report;
  enter(ledger.notices, report.notices, others, nowMs);
  enter(ledger.machine, report.machine, others, nowMs);
  enter(ledger.job, report.job, others, nowMs);
  enter(ledger.derivedMachine, report.derived?.machine, undefined, nowMs);
  enter(ledger.derivedJob, report.derived?.job, undefined, nowMs);
  ledger.pointers = { ...ledger.pointers, ...report.pointers };
  if (report.hostNowMs !== undefined) ledger.clock = { hostNowMs: report.hostNowMs, atMs: nowMs };
  ledger.fault = undefined;
  ledger.isHeard = true;
  ledger.hasNews = true;
  ledger.hasGoodNews ||= unasked !== true;
  for (const what of ['notices', 'keys'] as const) {
    const listed = whole?.includes(what) ? 'whole' : others === undefined ? 'nothing' : 'own';
    ledger.lists[what] = isCut ? 'cut' : listed;
    ledger.listsTold[what] = false;
  }
}

export function enterFailure(ledger: Ledger, fault: SourceError): void {
  ledger.fault = fault;
}

function enter<T>(
  book: Book<T>,
  given: Readonly<Record<string, Reading<T>>> = {},
  others: PartReport['others'],
  nowMs: number,
): void {
  const mentioned = new Set(Object.keys(given));
  for (const [name, reading] of Object.entries(given)) put(book, name, reading, nowMs);
  if (others !== undefined)
    for (const name of [...book.keys()]) if (!mentioned.has(name)) put(book, name, { is: others }, nowMs);
  prune(book, mentioned, nowMs);
}

function put<T>(book: Book<T>, name: string, reading: Reading<T>, nowMs: number): void {
  const before = book.get(name);
  const { times, sinceMs } = before?.gone ?? { times: 0, sinceMs: nowMs };
  const told = before?.gone !== undefined && (before.gone.told || !before.untold);
  // An explicit "no" clears at once (S1.6): what is merely not there any more, before the heart heard it, must not hide it.
  const denied = before?.untold && before.reading.is === 'negative' && reading.is !== 'present';
  book.set(name, {
    reading: denied ? before.reading : reading,
    untold: true,
    gone: reading.is === 'absent' || reading.is === 'negative' ? { times: times + 1, sinceMs, told } : undefined,
  });
}

function prune<T>(book: Book<T>, mentioned: ReadonlySet<string>, nowMs: number): void {
  const old = [...book].filter(([name]) => !mentioned.has(name));
  const isForgotten = ({ gone }: Entry<T>): boolean =>
    gone !== undefined && gone.times > FORGET_AFTER_TIMES && nowMs - gone.sinceMs > FORGET_AFTER_MS;
  for (const [name, entry] of old) if (isForgotten(entry)) book.delete(name);
  const left = old.filter(([name]) => book.has(name));
  // In the order in which they came, those that are gone first; but none of which the heart would never hear that it is.
  const order = [
    ...left.filter(([, { gone }]) => gone?.told),
    ...left.filter(([, { gone, untold }]) => !gone && !untold),
  ];
  for (const [name] of order.slice(0, Math.max(0, left.length - MAX_OLD_NAMES))) book.delete(name);
}

interface Telling {
  /** What the features are said to come from. */
  readonly channel: string;
  /** Monotonic. */
  readonly nowMs: number;
  /** Parts whose word stands although they were not asked: what they said is not there is said once more. */
  readonly repeat: ReadonlySet<Ledger>;
}

/**
 * All that the heart has not been told yet, as one answer; now it has been. `@PART` is `unknown` for a part that fails, which
 * shows as a fault, and `negative` for one that has just ended well, which makes the answer a good one.
 */
export function tell(ledgers: readonly Ledger[], { channel, nowMs, repeat }: Telling): Answer {
  const notices = together(ledgers, (ledger) => ledger.notices, repeat, earliest);
  for (const { part, fault, hasNews } of ledgers) {
    if (fault !== undefined) notices.set(`@${part.name}`, { is: 'unknown', error: fault.code });
    else if (hasNews) notices.set(`@${part.name}`, { is: 'negative' });
  }
  const [machine, job, derivedMachine, derivedJob] = KEY_BOOKS.map((book) =>
    together(ledgers, (ledger) => ledger[book], repeat, first),
  );
  const isRest = { notices: mayBeListed(ledgers, 'notices', repeat), keys: mayBeListed(ledgers, 'keys', repeat) };
  const rest = (what: Listed, book: 'notices' | Side) =>
    isRest[what] && { rest: { is: 'absent', except: namesIn(ledgers, book) } as const };
  const feature = (side: Side, keys: Map<string, Reading<string>> = new Map()): FeatureReading | undefined =>
    keys.size > 0 || isRest.keys
      ? { channel, complete: false, keys: Object.fromEntries(keys), ...rest('keys', side) }
      : undefined;
  const features = { machine: feature('machine', machine), job: feature('job', job) };
  const derived = { machine: Object.fromEntries(derivedMachine ?? []), job: Object.fromEntries(derivedJob ?? []) };
  // Of two parts that point somewhere the first in the list is believed.
  const pointers: Pointers = Object.assign({}, ...[...ledgers].reverse().map((ledger) => ledger.pointers));
  const clock = latestClock(ledgers);
  for (const ledger of ledgers) markTold(ledger, isRest);
  return {
    ...(clock && { hostNowMs: clock.hostNowMs + (nowMs - clock.atMs) }),
    ...(features.machine && { machine: features.machine }),
    ...(features.job && { job: features.job }),
    ...((notices.size > 0 || isRest.notices) && {
      notices: { complete: false, byId: Object.fromEntries(notices), ...rest('notices', 'notices') },
    }),
    ...(Object.keys({ ...derived.machine, ...derived.job }).length > 0 && { derived }),
    ...(Object.keys(pointers).length > 0 && { pointers }),
  };
}

/** What is to be said of the names in one kind of books. */
function together<T>(
  ledgers: readonly Ledger[],
  bookOf: (ledger: Ledger) => Book<T>,
  repeat: ReadonlySet<Ledger>,
  choose: (values: readonly T[]) => T | undefined,
): Map<string, Reading<T>> {
  const fixed = (ledger: Ledger): readonly string[] =>
    bookOf(ledger) === (ledger.notices as unknown) ? (ledger.part.speaksFor ?? []) : [];
  const names = new Set<string>();
  for (const ledger of ledgers) {
    const isChanged = ledger.fault?.code !== ledger.toldFault;
    // Of what no part has ever spoken there is nothing to be unsure of.
    if (isChanged)
      for (const name of fixed(ledger)) if (ledgers.some((each) => bookOf(each).has(name))) names.add(name);
    for (const [name, { untold, reading }] of bookOf(ledger))
      if (untold || isChanged || (repeat.has(ledger) && reading.is === 'absent')) names.add(name);
  }
  const said = new Map<string, Reading<T>>();
  for (const name of names) {
    const opinions = ledgers.flatMap((ledger): readonly Opinion<T>[] => {
      const entry = bookOf(ledger).get(name);
      if (entry === undefined && !fixed(ledger).includes(name)) return [];
      // What was good before it failed is news all the same.
      if (entry?.untold || (entry !== undefined && ledger.fault === undefined)) return [entry];
      return ledger.fault === undefined ? [] : [{ reading: { is: 'unknown', error: ledger.fault.code }, untold: true }];
    });
    said.set(name, agreed(opinions, choose));
  }
  return said;
}

type Opinion<T> = Pick<Entry<T>, 'reading' | 'untold'>;

/**
 * What several parts say of one name: it is there if one of them says so, and gone only if none of them says otherwise or
 * cannot tell. It is denied only by one that says so just now: what was denied long ago proves nothing of another's word.
 */
function agreed<T>(opinions: readonly Opinion<T>[], choose: (values: readonly T[]) => T | undefined): Reading<T> {
  const value = choose(opinions.flatMap(({ reading }) => (reading.is === 'present' ? [reading.value] : [])));
  if (value !== undefined) return { is: 'present', value };
  const unknown = opinions.find(({ reading }) => reading.is === 'unknown');
  if (unknown !== undefined) return unknown.reading;
  const isDenied = opinions.some(({ reading, untold }) => reading.is === 'negative' && untold);
  return { is: isDenied ? 'negative' : 'absent' };
}

const first = <T>(values: readonly T[]): T | undefined => values[0];

/** S1.2 within one source; a time that is given before one that is not. */
const earliest = (notices: readonly StatedNotice[]): StatedNotice | undefined =>
  [...notices].sort(
    (a, b) => (a.deadlineMs ?? Number.POSITIVE_INFINITY) - (b.deadlineMs ?? Number.POSITIVE_INFINITY),
  )[0];

/**
 * Whether what the heart holds from before a restart of the agent, and no part knows of, can be said to be absent: each part
 * that lists things has listed them anew since this was said last, and every other part has been heard, so that what it may
 * give is known.
 */
function mayBeListed(ledgers: readonly Ledger[], what: Listed, repeat: ReadonlySet<Ledger>): boolean {
  const isNew = (ledger: Ledger): boolean =>
    ledger.fault === undefined && ledger.lists[what] !== 'cut' && (repeat.has(ledger) || !ledger.listsTold[what]);
  if (ledgers.some((ledger) => ledger.lists[what] === 'whole' && isNew(ledger))) return true;
  const listing = ledgers.filter(({ lists }) => lists[what] !== 'nothing');
  return listing.length > 0 && listing.every(isNew) && ledgers.every(({ isHeard }) => isHeard);
}

const namesIn = (ledgers: readonly Ledger[], book: 'notices' | Side): readonly string[] => [
  ...new Set(
    ledgers.flatMap((ledger) => [...ledger[book].keys(), ...(book === 'notices' ? (ledger.part.speaksFor ?? []) : [])]),
  ),
];

function latestClock(ledgers: readonly Ledger[]): Ledger['clock'] {
  const clocks = ledgers.flatMap(({ clock }) => (clock === undefined ? [] : [clock]));
  return clocks.sort((a, b) => b.atMs - a.atMs)[0];
}

function markTold(ledger: Ledger, isRest: Readonly<Record<Listed, boolean>>): void {
  markBook(ledger.notices);
  for (const book of KEY_BOOKS) markBook(ledger[book]);
  for (const what of ['notices', 'keys'] as const) if (isRest[what]) ledger.listsTold[what] = true;
  ledger.pointers = {};
  ledger.clock = undefined;
  ledger.hasNews = false;
  ledger.hasGoodNews = false;
  ledger.toldFault = ledger.fault?.code;
}

function markBook<T>(book: Book<T>): void {
  for (const [name, entry] of book) if (entry.untold) book.set(name, { ...entry, untold: false });
}
