/**
 * The payloads' side of the wiring: who is looked for and looked after, and what becomes of the heart's effects on payloads,
 * units, programs and the machine itself. `agent.ts` says when; the rooms below payloads/ and hand/ say how.
 */
import path from 'node:path';
import type { Logger } from 'pino';
import type { Clock } from './clock.ts';
import type { Config } from './config.ts';
import { openHand } from './hand/open-hand.ts';
import type { Journal } from './journal.ts';
import type {
  Effect,
  HookRun,
  Input,
  PayloadSpec,
  SnapshotPayload,
  StepResult,
  StepResultReport,
} from './lifetime/types.ts';
import { resolveCgroup } from './payloads/cgroup.ts';
import type { SignalEffect } from './payloads/delivery.ts';
import { openFinder } from './payloads/finder.ts';
import { payloadChanges } from './payloads/finder-changes.ts';
import { openHooks } from './payloads/hooks.ts';
import { openPayloads } from './payloads/payloads.ts';
import { openPower } from './payloads/power.ts';
import { shutdownCommandOf } from './payloads/shutdown-command.ts';
import { openTurns } from './payloads/turns.ts';
import { openUnitSteps } from './payloads/unit-steps.ts';
import { openUnits } from './payloads/units.ts';
import type { AgentPort, Publication, Registration } from './ports.ts';

export interface CareOptions {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: Logger;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly root: string;
  readonly self: { readonly command: string; readonly args: readonly string[] };
  readonly journal: Journal;
  count(metric: string, labels?: Readonly<Record<string, string>>): void;
  submit(input: Input): void;
  register(registration: Registration): void;
  publication(): Publication;
  /** Who hears of the machine's events besides the programs; says `heard` for each. */
  send(run: HookRun, publication: Publication): void;
  /** The site has not heard the last word yet. */
  owesLastWord(): boolean;
}

export interface Care extends Pick<AgentPort, 'describeUnit' | 'lookUpCgroup' | 'containment'> {
  /** First of all effects after the files: processes at once, units through systemd behind them. */
  signal(effects: readonly Effect[]): void;
  /** What must not hold up a signal: programs, web hooks, units to start again, the machine's end. */
  afterwards(result: StepResult<unknown>, publication: Publication): void;
  /** Each second: who is gone, who is new. */
  look(): void;
  reconfigure(config: Config): void;
  /** Whoever `send` told of this run is through with it. */
  heard(run: string): void;
  /** Gives back what is held; programs and units go on. */
  stop(): void;
}

export function openCare(options: CareOptions): Care {
  const { clock, log, env, root, journal, count, submit } = options;
  let { config } = options;
  const procRoot = path.join(root, 'proc');
  const uid = process.geteuid?.() ?? 0;
  const recordDir = path.join(config.journalDir, 'hooks');
  const now = () => clock.now();
  const hand = openHand({
    socket: config.handSocket,
    hooks: () => config.hooks,
    env,
    log,
    uid,
    // What a crash leaves there is swept when the records of hooks are read.
    scratchDir: recordDir,
    procRoot,
  });
  const units = openUnits({ hand, env, log, root });
  const payloads = openPayloads({ procRoot, selfPid: process.pid, log, journal, now });
  const unitSteps = openUnitSteps({ units, submit, deliver, log, count, now });
  const hooks = openHooks({
    config: config.hooks,
    hand,
    log,
    count,
    now,
    runtimeDir: config.runtimeDir,
    recordDir,
    submit(input) {
      if (input.type !== 'hook_ended') return submit(input);
      submit({ ...input, part: 'programs' });
      // Not before: a heart that has not heard of it asks for the run again after a crash, and no program may run twice.
      hooks.settled(input.run);
    },
    procRoot,
    uid,
    env,
  });
  const power = openPower({
    hand,
    log,
    count,
    clock,
    holdFor: options.owesLastWord,
    uid,
    shutdownCommand: () => shutdownCommandOf(options.publication().snapshot, config, root),
  });
  const finder = openFinder({
    procRoot,
    selfPid: process.pid,
    self: options.self,
    units,
    log,
    register: options.register,
  });
  finder.configure(config.payloads);

  /** Also for units that systemd does not stop: their processes are signalled like any others. */
  function deliver(effects: readonly SignalEffect[], untilMono?: number): readonly StepResultReport[] {
    const results = payloads.deliver(effects, untilMono);
    for (const { step, outcome } of results) count('mjf_signals_total', { signal: step.signal, outcome });
    return results;
  }

  /** What the leaders were to stop themselves (last-call.ts). Of most nothing is left, which is no news. */
  function callTheRest(): void {
    const results = payloads.callTheRest(rows());
    if (results.length === 0) return;
    submit({ type: 'steps_done', results });
    for (const { id, step, outcome } of results) {
      if (outcome === 'no_process') continue;
      count('mjf_signals_total', { signal: step.signal, outcome });
      log.info(
        { event: 'rest_signalled', payload: id, signal: step.signal, episode: step.episode, outcome },
        `${id}: ${step.signal} to those that its leader has not stopped (${outcome})`,
      );
    }
  }

  const turns = openTurns({
    deliver,
    now,
    done(results, signals) {
      submit({ type: 'steps_done', results });
      // Once all are out: afterwards somebody will ask what was done to which job.
      const names = new Map(signals.map(({ payload }) => [payload.id, payload.name]));
      for (const { id, step, outcome } of results) {
        log.info(
          { event: 'step_taken', payload: id, signal: step.signal, episode: step.episode, outcome },
          `${names.get(id)}: ${step.signal} (${outcome})`,
        );
      }
    },
  });

  const rows = (): readonly SnapshotPayload[] => options.publication().payloads;
  const specOf = (id: string): PayloadSpec | undefined => rows().find(({ spec }) => spec.id === id)?.spec;

  /** What the configuration does not name any more: also what an agent before this one found by another configuration. */
  function drop(isOver: (origin: string) => boolean): void {
    for (const { spec } of rows()) {
      if (spec.origin === undefined || !isOver(spec.origin)) continue;
      submit({ type: 'payload_gone', id: spec.id, why: 'unconfigured' });
    }
  }

  return {
    signal(effects) {
      const signals = effects.filter((effect) => effect.type === 'signal');
      const toSystemd = signals.filter(isUnitStop);
      const direct = signals.filter((effect) => !isUnitStop(effect));
      if (direct.length > 0) {
        // Nobody is killed while its SIGTERM waits for systemd.
        unitSteps.hurry(new Set(direct.filter(isKill).map(({ payload }) => payload.id)));
        turns.take(direct);
      }
      if (toSystemd.length > 0) void unitSteps.stop(toSystemd);
    },
    afterwards({ effects, powerOff }, publication) {
      for (const effect of effects) {
        if (effect.type === 'start_units') void unitSteps.start(effect);
        if (effect.type === 'hook') run(effect.run, publication);
      }
      power.update(powerOff);
    },
    look() {
      const names = new Set(config.payloads.map(({ name }) => name));
      drop((origin) => !names.has(origin));
      const specs = rows().map(({ spec }) => spec);
      if (specs.length > 0) {
        const found = payloads.look(specs, new Map(rows().map(({ spec, state }) => [spec.id, state])));
        for (const id of found.delivererGone) submit({ type: 'deliverer_gone', id });
        for (const id of found.gone) submit({ type: 'payload_gone', id, why: 'exited' });
        for (const id of found.running) submit({ type: 'unit_running', id });
        callTheRest();
      }
      finder.look(rows().map(({ spec }) => spec));
    },
    reconfigure(next) {
      const { removed, changed } = payloadChanges(config.payloads, next.payloads);
      drop((origin) => removed.includes(origin));
      for (const { spec } of rows()) {
        const change = changed.get(spec.origin ?? '');
        if (change !== undefined) submit({ type: 'payload_updated', id: spec.id, ...change });
      }
      config = next;
      finder.configure(next.payloads);
      hooks.reconfigure(next.hooks);
    },
    heard: (run) => submit({ type: 'hook_ended', run, part: 'posts' }),
    async describeUnit(unit) {
      return (await units.describe([unit])).get(unit) ?? null;
    },
    lookUpCgroup: (text) => resolveCgroup(text, { procRoot, selfPid: process.pid }),
    containment(id) {
      const spec = specOf(id);
      return spec === undefined ? null : payloads.containment(spec);
    },
    stop() {
      power.stop();
      finder.stop();
      unitSteps.close();
      hooks.stop();
    },
  };

  function run(run: HookRun, publication: Publication): void {
    const { event, parts } = run;
    if (event !== 'step' && parts?.includes('posts') !== false) options.send(run, publication);
    if (parts?.includes('programs') !== false) hooks.run(run, publication);
    else hooks.settled(run.id);
  }
}

/** A unit's stop signal proper is systemd's business (types.ts, UnitTarget). */
const isUnitStop = ({ payload, step }: SignalEffect): boolean =>
  payload.target.kind === 'unit' && step.signal === 'SIGTERM';

const isKill = ({ step }: SignalEffect): boolean => step.signal === 'SIGKILL';
