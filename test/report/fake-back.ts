/** A host that can be spoken to: writes down what it hears and misbehaves as it is told. And news to be spoken of. */
import type { TestContext } from 'node:test';
import { jobStatus } from '../../agent/lifetime/document.ts';
import type { FinalWord, MachineAnswer, Snapshot, SnapshotNotice, SourceState } from '../../agent/lifetime/types.ts';
import type { DeliveryFailure, SiteNews, SpeakBack } from '../../agent/report/reporter.ts';
import { fakePort, SNAPSHOT } from '../publish/http/fake-port.ts';
import { type LogLine, logLines } from '../support/log-lines.ts';

export interface Heard {
  readonly source: string;
  readonly values?: Readonly<Record<string, string | null>>;
  readonly event?: string;
}

export interface FakeBack {
  readonly back: SpeakBack;
  readonly heard: readonly Heard[];
  /** What it does with the next thing it hears, and with all after that; `hang` = until the signal. */
  answer: DeliveryFailure | null | 'hang' | Error;
  /** Fulfilled when it has heard so many things. */
  hears(count: number): Promise<void>;
}

export function fakeBack(): FakeBack {
  const heard: Heard[] = [];
  let waiting: { readonly count: number; readonly resolve: () => void }[] = [];
  const hear = (said: Heard, signal: AbortSignal): Promise<DeliveryFailure | null> => {
    heard.push(said);
    for (const { count, resolve } of waiting) if (heard.length >= count) resolve();
    waiting = waiting.filter(({ count }) => heard.length < count);
    const { answer } = fake;
    if (answer instanceof Error) return Promise.reject(answer);
    if (answer !== 'hang') return Promise.resolve(answer);
    return new Promise((resolve) =>
      signal.addEventListener('abort', () => resolve({ code: 'aborted', final: false }), { once: true }),
    );
  };
  const fake: FakeBack = {
    heard,
    answer: null,
    back: {
      tell: (source, values, signal) => hear({ source, values }, signal),
      acknowledge: (source, event, signal) => hear({ source, event }, signal),
    },
    hears: (count) =>
      heard.length >= count ? Promise.resolve() : new Promise((resolve) => waiting.push({ count, resolve })),
  };
  return fake;
}

/** What a reporter has of its surroundings, and what came of it. */
export function surroundings() {
  const fake = fakeBack();
  const { log, take } = logLines();
  const counted: string[] = [];
  const environment = {
    log,
    back: fake.back,
    count(metric: string, { reporter, outcome }: Readonly<Record<string, string>>) {
      if (metric === 'mjf_reports_total') counted.push(`${reporter} ${outcome}`);
    },
  };
  return { fake, environment, counted, lines: take };
}

/** Lines of at least `info`, by their event. */
export const eventsOf = (lines: readonly LogLine[]): readonly string[] =>
  lines.filter(({ level }) => level >= 30).map(({ event }) => event);

export interface Told {
  readonly answer?: Partial<MachineAnswer> | null;
  readonly sources?: Readonly<Record<string, SourceState>>;
  readonly notices?: readonly Pick<SnapshotNotice, 'id' | 'awaits'>[];
  readonly phase?: Snapshot['phase'];
  readonly lastWord?: FinalWord | null;
  readonly released?: readonly string[];
}

export function newsOf({ answer = null, sources = {}, notices = [], phase = 'running', ...rest }: Told): SiteNews {
  const none = { now: false, atMs: null, mustNotUntilMs: null, progress: null };
  const source = { sinceMs: 0, error: null, clockOffsetSecs: null, faults: {} };
  const snapshot: Snapshot = {
    ...SNAPSHOT,
    phase,
    canTerminate: answer === null ? null : { ...none, ...answer },
    sources: Object.entries(sources).map(([name, state]) => ({ ...source, name, state })),
    notices: notices.map((notice) => ({
      source: 'azure',
      kind: 'terminate',
      deadlineMs: null,
      reason: '',
      firstSeenMs: 0,
      stale: false,
      expired: false,
      ignored: false,
      brokenPromise: false,
      ...notice,
    })),
  };
  const publication = { ...fakePort().publication(), snapshot, jobstatus: jobStatus(snapshot) };
  return { publication, lastWord: rest.lastWord ?? null, released: rest.released ?? [] };
}

/** Pauses pass by hand, for timers and on the monotonic clock alike. */
export function turnTime(t: TestContext): { pass(ms: number): Promise<void> } {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const trueNow = performance.now.bind(performance);
  let elapsed = 0;
  t.mock.method(performance, 'now', () => trueNow() + elapsed);
  return {
    async pass(ms) {
      elapsed += ms;
      t.mock.timers.tick(ms);
      await quiet();
    },
  };
}

/** What was begun has come as far as it can without time or the world. */
export async function quiet(): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
