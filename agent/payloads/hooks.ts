/**
 * The operator's own programs: `hooks.d/EVENT/*` when the machine's state changes, `hooks.d/steps/NAME` as a step of a payload
 * (SEMANTICS S3.4, S3.6). They run beside everything else: nothing waits for them, least of all a signal.
 *
 * Files of one event run one after the other; different events and steps do not wait for each other. Programs outlive the
 * agent (SYSTEMS.md, "KillMode"): a restarted one follows what still runs, and goes on with the next file.
 */
import type { Logger } from 'pino';
import type { HooksConfig } from '../config/types.ts';
import type { Hand, HookOutcome } from '../hand/hand.ts';
import { listHooks, STEP_DIRECTORY } from '../hand/hook-files.ts';
import { stepOfRun } from '../lifetime/step-run.ts';
import { HOOK_EVENTS, type HookRun, type Input, type Instant, type StepOutcome } from '../lifetime/types.ts';
import type { Publication } from '../ports.ts';
import { hookEnvironment } from './hook-environment.ts';
import { hookFailure, type StepEnd } from './hook-failure.ts';
import { type Leftover, openLeftovers } from './hook-leftovers.ts';
import { openHookLog } from './hook-log.ts';
import { openHookRecords } from './hook-records.ts';

/** Programs at once: each is a process or more on a machine whose payloads need its processors to end in order. */
const MAX_RUNNING = 16;
/** A step with a hook for each of a thousand payloads, twice over. Their Snapshot is one and the same buffer. */
const MAX_WAITING = 2_048;
/** How long a record outlives the end of its run: after a jump of time the heart takes its inputs up to 2 s late (S4.2). */
const DEFAULT_KEPT_MS = 5_000;

export interface HooksOptions {
  readonly config: HooksConfig;
  readonly hand: Pick<Hand, 'hook'>;
  readonly log: Logger;
  /**
   * `mjf_hooks_total{event,outcome}`; outcome: ok, failed, timeout, not_run, skipped, unknown. And `mjf_hooks_uncertain_total`
   * for each program of an event that is started although it may have run before a crash.
   */
  count(metric: string, labels: Readonly<Record<string, string>>): void;
  now(): Instant;
  readonly runtimeDir: string;
  /** On tmpfs, the agent's alone, for this purpose alone: which programs run. Made where it is missing. */
  readonly recordDir: string;
  submit(input: Input): void;
  readonly procRoot: string;
  /** Who the agent is (effective). */
  readonly uid: number;
  /** Its language setting is passed on, nothing else. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Default 5 s. */
  readonly keptMs?: number;
}

/** What of a Publication a hook gets. */
export type HookNews = Pick<Publication, 'snapshot' | 'lifetimeJson'>;

export interface Hooks {
  /**
   * Returns at once. Ends with `hook_ended` for an event; of a step `steps_done` is said as soon as its program was started,
   * and `step_ended` or `step_failed` when that has ended, as far as it is known.
   */
  run(run: HookRun, news: HookNews): void;
  /**
   * The heart knows that this event's programs have ended, or will not ask for them again. Until then it is known here how far they came: a heart that
   * asks again after a restart must not have them run twice.
   */
  settled(run: string): void;
  reconfigure(config: HooksConfig): void;
  /** Starts nothing more and reports nothing more; what runs goes on. */
  stop(): void;
}

/** Looks at the directories at once, so that a file which will be left out is told of while there is time. */
export function openHooks(options: HooksOptions): Hooks {
  const { hand, log, now } = options;
  let { config } = options;
  const owners = new Set([0, options.uid]);
  const told = openHookLog(log, options.count);
  const records = openHookRecords({
    dir: options.recordDir,
    procRoot: options.procRoot,
    onError: (detail) => log.error({ event: 'hook_records_failed' }, detail),
  });
  const events: Job[] = [];
  const steps: Job[] = [];
  let running = 0;
  let stopped = false;
  const leftovers = openLeftovers({ records, hand, log, told, now, onStepEnded: tellEnd });
  survey();

  function pump(): void {
    while (running < MAX_RUNNING && !stopped) {
      // The machine's own events first: there are few of them, and a thousand steps may wait.
      const job = events.shift() ?? steps.shift();
      if (job === undefined) return;
      running += 1;
      perform(job)
        .catch((error: unknown) => {
          log.error({ event: 'internal', run: job.run.id, err: error }, 'a fault in the agent itself: a hook is lost');
          end(job, 'refused', { is: 'lost' });
        })
        .finally(() => {
          running -= 1;
          pump();
        });
    }
  }

  async function perform(job: Job): Promise<void> {
    const { run, before } = job;
    const earlier = await before?.ended;
    const directory = run.event === 'step' ? STEP_DIRECTORY : run.event;
    const all = run.event === 'step' ? [run.file ?? ''] : list(directory);
    const done = before?.record.file;
    const files = done === undefined ? all : all.filter((file) => file > done);
    let late = earlier?.is === 'timeout';
    let stepOutcome: StepOutcome = 'refused';
    let stepEnd: StepEnd | undefined;
    for (let next = 0; next < files.length && !stopped; next += 1) {
      const outcome = late ? 'late' : await one(job, directory, files[next] ?? '');
      stepEnd = outcome === 'late' ? { is: 'late' } : outcome;
      late = outcome === 'late' || outcome.is === 'timeout';
      if (late) {
        skip(run, files.slice(outcome === 'late' ? next : next + 1));
        break;
      }
      if (outcome !== 'late' && outcome.is === 'not_run' && outcome.code === 'not_found') stepOutcome = 'no_process';
    }
    // Otherwise the record stays, and says to the next agent how far this run came.
    if (stopped) return;
    const last = all.at(-1);
    if (run.event !== 'step' && last !== undefined)
      records.put({ run: run.id, directory, file: last, program: null, over: true, untilMs: now().wall });
    // Of a program that an earlier agent began its end is told where it is followed.
    end(job, stepOutcome, stepEnd);
  }

  async function one(job: Job, directory: string, file: string): Promise<HookOutcome | 'late'> {
    const { run, news } = job;
    const begun = now();
    const timeoutMs = Math.min(config.timeoutMs, (run.byMs ?? Number.POSITIVE_INFINITY) - begun.wall);
    if (timeoutMs <= 0) return 'late';
    const shown = { hook: `${directory}/${file}`, run: run.id };
    const record = { run: run.id, directory, file, over: false, untilMs: begun.wall + timeoutMs };
    const { runtimeDir, env } = options;
    const outcome = await hand.hook({
      directory,
      file,
      env: hookEnvironment({ run, snapshot: news.snapshot, now: begun, runtimeDir, lang: env['LANG'] }),
      stdin: news.lifetimeJson.toString(),
      timeoutMs,
      onStarted(program) {
        records.put({ ...record, program });
        told.started(shown, program);
        // A step's is told by the heart, as that of a signal.
        if (run.repeated && run.event !== 'step') told.uncertain(run.event, shown);
        reportStep(job, 'delivered');
      },
      onLine: (stream, line) => told.line(shown, stream, line),
    });
    const failure = run.event === 'step' ? hookFailure(file, outcome) : undefined;
    if (outcome.is !== 'not_run') records.put({ ...record, program: null, ...(failure !== undefined && { failure }) });
    told.ended(run.event, shown, outcome);
    return outcome;
  }

  /** `stepOutcome`: of a step whose program was not started. `stepEnd`: of a step, where it is known and not told yet. */
  function end(job: Job, stepOutcome: StepOutcome, stepEnd?: StepEnd): void {
    const { run } = job;
    reportStep(job, stepOutcome);
    if (run.event === 'step') {
      const file = run.file ?? '';
      const failure = stepEnd === undefined ? undefined : hookFailure(file, stepEnd);
      if (failure !== undefined) tellEnd(run.id, file, failure);
      forget(run.id);
    } else if (!stopped) options.submit({ type: 'hook_ended', run: run.id });
  }

  function forget(run: string): void {
    setTimeout(() => records.remove(run), options.keptMs ?? DEFAULT_KEPT_MS).unref();
  }

  function reportStep(job: Job, outcome: StepOutcome): void {
    const { step, payload, event } = job.run;
    if (stopped || job.reported || event !== 'step' || step === undefined || payload === undefined) return;
    job.reported = true;
    options.submit({ type: 'steps_done', results: [{ id: payload.id, step, outcome, at: now() }] });
  }

  /** The heart takes it once, however often it is told. */
  function tellEnd(run: string, file: string, failure: string | null): void {
    const of = stepOfRun(run, file);
    if (stopped || of === null) return;
    options.submit(failure === null ? { type: 'step_ended', ...of } : { type: 'step_failed', ...of, detail: failure });
  }

  function skip({ event, id }: HookRun, files: readonly string[]): void {
    if (files.length > 0) told.skipped(event, id, files);
  }

  function list(directory: string): readonly string[] {
    const found = listHooks(config.dir, directory, owners);
    told.leftOut(directory, found.left);
    return found.files;
  }

  function survey(): void {
    for (const directory of [...HOOK_EVENTS, STEP_DIRECTORY]) list(directory);
  }

  return {
    run(run, news) {
      if (stopped) return;
      // Claimed now: however long it has to wait for its turn, what is left of it must not be taken for forgotten.
      const job: Job = { run, news, before: leftovers.claim(run.id), reported: false };
      // It was started once, whatever has become of it since.
      if (job.before !== undefined) reportStep(job, 'delivered');
      if (job.before?.record.over === true) {
        end(job, 'delivered');
        return;
      }
      if (events.length + steps.length < MAX_WAITING) {
        (run.event === 'step' ? steps : events).push(job);
        pump();
        return;
      }
      log.error({ event: 'hooks_too_many', run: run.id, waiting: MAX_WAITING }, 'too many hooks wait: one is not run');
      skip(run, [run.file ?? '*']);
      end(job, 'refused', { is: 'crowded' });
    },
    settled(run) {
      // Of one that this agent was not asked to run: a program of it may still be followed.
      void (leftovers.claim(run)?.ended ?? Promise.resolve()).then(() => forget(run));
    },
    reconfigure(next) {
      config = next;
      survey();
    },
    stop() {
      stopped = true;
      events.length = 0;
      steps.length = 0;
    },
  };
}

interface Job {
  readonly run: HookRun;
  readonly news: HookNews;
  /** What an earlier agent did of it. */
  readonly before: Leftover | undefined;
  /** Whether the step has been reported: once. */
  reported: boolean;
}
