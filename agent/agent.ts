/**
 * The wiring: sources → heart → journal → files → signals → HTTP → reports (DESIGN.md, "One direction of flow"). Nothing
 * else in the program holds state over time, and there is one way to start and one to stop.
 */
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import type { Logger } from 'pino';
import { type Care, openCare } from './care.ts';
import { type Channels, openChannels } from './channels.ts';
import type { Clock } from './clock.ts';
import { fixedAtStart } from './config/reload.ts';
import { type Config, policyOf } from './config.ts';
import { linkEtc } from './etc-link.ts';
import { groupOption } from './groups.ts';
import { type Heartbeat, startHeartbeat } from './heartbeat.ts';
import { payloadRow } from './lifetime/escalation.ts';
import { pointersOf } from './lifetime/snapshot.ts';
import { outlivesBoot, type State } from './lifetime/state.ts';
import { tellChanges } from './lifetime/tell.ts';
import {
  type Effect,
  type Instant,
  type PayloadSpec,
  type PayloadTarget,
  POINTER_NAMES,
  type Pointers,
  type Snapshot,
  type SnapshotPayload,
  type StepResult,
} from './lifetime/types.ts';
import { readMachineIdentity } from './machine-identity.ts';
import { openMeasures } from './measures.ts';
import { openMemory } from './memory.ts';
import { sharedMountPoints } from './mount-points.ts';
import { openOutput } from './output.ts';
import { isOwnEndpoint } from './own-endpoint.ts';
import { openInhibitor } from './payloads/inhibitor.ts';
import { followable } from './pointer-rules.ts';
import type { AgentPort, LiveSource, Publication, Registration } from './ports.ts';
import type { HttpServer } from './publish/http/server.ts';
import { createMetrics } from './publish/metrics.ts';
import { processMetrics, snapshotMetrics } from './publish/metrics-now.ts';
import { publicationOf } from './publish/publication.ts';
import { ANSWER_FILE } from './report/joboutputs.ts';
import { openReports } from './report/reports.ts';
import { openWebhooks } from './report/webhooks.ts';
import { inheritedListeners } from './socket-activation.ts';
import { guardTimeMs } from './sources/logind-guard.ts';
import { version } from './version.ts';

/** READY (and `readyz`) at the latest after this, however silent a source is: boot must not wait for a dead endpoint. */
const READY_AT_LATEST_MS = 10_000;
/** The main loop ticks each second; silent for longer than this it is not healthy. */
const HEALTHY_TICK_MS = 10_000;
/** Reports and the state file get this long when the agent is told to stop. */
const STOP_BOUND_MS = 2_000;

export interface AgentOptions {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: Logger;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Where `/proc`, `/sys`, `/etc` begin. */
  readonly root: string;
  /** How to start this very program again. */
  readonly self: { readonly command: string; readonly args: readonly string[] };
  /** Counts what the log had to drop, once there is something to count with. */
  onLogDrops(count: (lines: number) => void): void;
}

export interface Agent {
  /** Resolves once every source answered once or the time for that is over, and the listeners are up. */
  ready(): Promise<void>;
  /** Whether the main loop does its work; as `/healthz`. */
  health(): { readonly healthy: boolean; readonly reason: string };
  /** Now and whenever the truth changes, after everything else. */
  watch(listener: (snapshot: Snapshot) => void): void;
  /** A re-read configuration: policy, sources and payload defaults change in place; what needs a restart is told in the log. */
  reconfigure(config: Config): void;
  /** A re-read configuration was wrong; the former one goes on. */
  configurationRefused(): void;
  stop(): Promise<void>;
}

/**
 * Starts the agent. Throws `RuntimeDirError` or `ClaimError` when it cannot do its work at all; everything else (port taken,
 * no channel, state directory unwritable) is a defined waiting state that the log and `readyz` tell of.
 */
export function startAgent(options: AgentOptions): Agent {
  const { clock, log, env, root } = options;
  let { config } = options;
  const metrics = createMetrics();
  const measures = openMeasures(metrics);
  metrics.gauge('mjf_build_info', { version, nodejs: process.versions.node }, 1);
  options.onLogDrops((lines) => metrics.count('mjf_log_dropped_total', {}, lines));
  const identity = readMachineIdentity(root, env);
  const started = clock.now();
  const processStartMs = started.wall - process.uptime() * 1000;
  const configurationTaken = (taken: boolean): void => {
    metrics.gauge('mjf_config_last_reload_successful', {}, taken ? 1 : 0);
    if (taken) metrics.gauge('mjf_config_last_reload_success_timestamp_seconds', {}, clock.now().wall / 1000);
  };
  configurationTaken(true);
  const bootWallMs = identity.bootWallMs(started.wall);
  const output = openOutput({ config, clock, log, root, count: metrics.count, observe: metrics.observe });
  const memory = openMemory(options, identity, started, bootWallMs, (of) =>
    metrics.count(of === 'journal' ? 'mjf_journal_errors_total' : 'mjf_state_errors_total'),
  );
  const { journal } = memory;

  let publication: Publication | null = null;
  const listeners = new Set<(publication: Publication) => void>();
  let http: HttpServer | null = null;
  let stopping = false;

  const ownAddresses = config.listen === 'off' ? [] : config.listen;
  const reports = openReports({
    config,
    env,
    self: options.self,
    ownAddresses,
    stateDir: config.stateDir,
    identity,
    log,
    count: metrics.count,
    now: () => clock.now(),
    back: {
      tell: (source, values, signal) => channels.back.tell(source, values, signal),
      acknowledge: (source, event, signal) => channels.back.acknowledge(source, event, signal),
    },
  });
  const inhibitor = openInhibitor({ log, env, ...busOption(config) });
  const webhooks = openWebhooks({
    webhooks: config.webhooks,
    log,
    count: metrics.count,
    now: () => clock.now(),
    ownAddresses,
    identity,
    onSettled: (run) => care.heard(run),
  });
  const care: Care = openCare({
    ...options,
    journal,
    send: webhooks.send,
    count: metrics.count,
    submit(input) {
      measures.heard(input);
      beat.submit(input);
    },
    register,
    publication: () => publication ?? unreachable(),
    owesLastWord: reports.owesLastWord,
  });
  const beat: Heartbeat = startHeartbeat({
    clock,
    state: memory.state,
    carryOut,
    onTick,
    async onJump({ kind, byMs }) {
      metrics.count('mjf_time_jumps_total', { kind });
      log.warn(
        { event: 'time_jumped', kind, by_secs: Math.round(byMs / 1000) },
        `time jumped (${kind}): every source is asked before anything is done`,
      );
      await channels.pollAll();
    },
    onError: (error, input) =>
      log.error(
        { event: 'internal', input: input.type, err: error },
        'a fault in the agent itself: this input is dropped, everything before it stands',
      ),
  });

  /** Journal → files → signals → HTTP → reports: a payload woken by its SIGTERM must not read `running`. */
  function carryOut(result: StepResult<State>, { wall }: Instant): void {
    const before = publication;
    measures.stepped(before, result, wall);
    const writes = result.effects.filter((effect) => effect.type === 'persist');
    if (writes.length > 0) journal.put(writes);
    publication = publicationOf(result.snapshot, result.payloads, before);
    if (publication !== before) {
      output.show(publication);
    }
    care.signal(result.effects);
    for (const effect of result.effects) tell(effect);
    if (publication !== before) {
      for (const effect of tellChanges(before?.snapshot ?? null, publication.snapshot)) tell(effect);
      for (const listener of listeners) listener(publication);
    }
    const { lastWord, released } = result;
    reports.update({ publication, lastWord, released });
    care.afterwards(result, publication);
    follow(result.snapshot.pointers);
    holdShutdown(result.snapshot);
    if (writes.some((effect) => outlivesBoot(effect.key))) memory.save(result.state);
  }

  function tell(effect: Effect): void {
    if (effect.type === 'poll_soon') channels.pollSoon(effect.source, effect.inMs);
    if (effect.type !== 'log') return;
    log[effect.level]({ event: effect.event, ...effect.fields }, effect.message);
    measures.told(effect);
  }

  function onTick({ mono }: Instant): void {
    measures.looked(mono);
    if (publication !== null) care.look();
    output.look(publication);
    if (publication !== null) holdShutdown(publication.snapshot);
    http?.mend();
  }

  const startSources = (): void =>
    beat.submit({ type: 'configure', policy: policyOf(config), sources: channels.start(config) });

  function allowedOf(pointers: Pointers): Pointers {
    const isOwn = (url: string): boolean => isOwnEndpoint(url, ownAddresses);
    const { allowed, refused } = followable(pointers, { isOwn, mounts: sharedMountPoints(root) });
    for (const { name, why } of refused) {
      if (toldRefused.has(name)) continue;
      toldRefused.add(name);
      log.warn({ event: 'pointer_refused', name }, `the metadata names ${name}, which is not followed: ${why}`);
    }
    return allowed;
  }

  /** A shutdown of logind's waits for the payloads, and for the last word to the site (SYSTEMS.md, "systemd"). */
  function holdShutdown({ sources, payloads }: Snapshot): void {
    // Also while it does not answer: the lock would be let go at the worst moment.
    const logind = sources.some(({ name, state }) => name === 'logind' && state !== 'absent');
    // The guard holds it up longer than logind would; the lock would only put off its turn.
    const guarded = guardTimeMs(root) !== null;
    inhibitor.update(logind && !guarded && (payloads.running + payloads.stopping > 0 || reports.owesLastWord()));
  }

  /** A platform's metadata says where the features are (mjf.md, "Locations"). */
  function follow(pointers: Pointers): void {
    if (POINTER_NAMES.every((name) => followed[name] === pointers[name])) return;
    followed = pointers;
    const allowed = allowedOf(pointers);
    log.info({ event: 'pointers', names: Object.keys(pointers) }, 'the metadata says where the features are');
    reports.pointTo(allowed.joboutputs);
    beat.submit({ type: 'configure', policy: policyOf(config), sources: channels.follow(allowed) });
  }

  async function openDoors(): Promise<void> {
    // Loaded after the first publication: fastify costs more time than everything before it (SYSTEMS.md, "Build").
    const { startHttp } = await import('./publish/http/server.ts');
    if (stopping) return;
    const listen = config.listen === 'off' ? [] : config.listen;
    const { joboutputs } = config.report;
    http = await startHttp(port, {
      listen,
      runtimeDir: config.runtimeDir,
      log,
      version,
      procRoot: path.join(root, 'proc'),
      reservedOutputs: ['shutdown_message', ANSWER_FILE, joboutputs?.heartbeatFile ?? 'heartbeat'],
      listenFds: inheritedListeners(env, process.pid),
      ...groupOption(config.adminGroup, root, log),
    });
  }

  const toldRefused = new Set<string>();
  let followed = pointersOf(memory.state);
  reports.pointTo(allowedOf(followed).joboutputs);
  const channels = openChannels({
    root,
    env,
    log,
    clock,
    runtimeDir: config.runtimeDir,
    firstBootMs: memory.firstBootMs,
    self: options.self,
    ownAddresses,
    pointers: allowedOf(followed),
    known: knownSources(memory.state),
    onSources: (sources) => beat.submit({ type: 'configure', policy: policyOf(config), sources }),
    emit: (observation) => beat.submit({ type: 'observation', observation }),
    count: metrics.count,
    observe: metrics.observe,
  });
  startSources();
  const unlink = linkEtc({ enabled: config.publish.linkEtc, runtimeDir: config.runtimeDir, root, log });
  let ready = false;

  const port: AgentPort = {
    publication: () => publication ?? unreachable(),
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    sources: () => liveSources(channels, publication ?? unreachable()),
    register,
    filesWritten: output.written,
    submit(input) {
      if (input.type === 'steps_done') {
        const [first] = input.results;
        if (first !== undefined) measures.acknowledged(input.results, port.payload(first.id));
      }
      beat.submit(input);
    },
    jobOutput: reports.jobOutput,
    readiness: () => readiness(ready, output.broken(), channels.silent()),
    health() {
      const silent = clock.now().mono - beat.lastTickMono();
      return silent < HEALTHY_TICK_MS
        ? { healthy: true, reason: 'ok' }
        : { healthy: false, reason: `the main loop has not run for ${Math.round(silent / 1000)} s` };
    },
    metricsText() {
      const shown = publication ?? unreachable();
      metrics.gauge('mjf_last_word_pending', {}, reports.owesLastWord() ? 1 : 0);
      metrics.gauge('mjf_hooks_running', {}, beat.state().hooks.open.length);
      metrics.gauge('mjf_ready', {}, port.readiness().ready ? 1 : 0);
      metrics.gauge('mjf_healthy', {}, port.health().healthy ? 1 : 0);
      metrics.gauge('mjf_inhibitor_held', {}, inhibitor.held() ? 1 : 0);
      const guardMs = guardTimeMs(root);
      const live = liveSources(channels, shown);
      return metrics.text([
        ...snapshotMetrics(shown.snapshot, clock.now().wall, live, reports.pending()),
        ...(guardMs === null ? [] : [{ name: 'mjf_guard_seconds', value: guardMs / 1000 }]),
        ...processMetrics(path.join(root, 'proc'), processStartMs),
      ]);
    },
    describeUnit: care.describeUnit,
    lookUpCgroup: care.lookUpCgroup,
    containment: care.containment,
    payload: (id) => publication?.payloads.find((row) => row.spec.id === id),
    nowMs: () => clock.now().wall,
    count: metrics.count,
  };

  function register(registration: Registration): SnapshotPayload {
    const spec: PayloadSpec = {
      ...registration,
      id: `p-${randomBytes(6).toString('hex')}`,
      token: registration.token ?? randomBytes(16).toString('hex'),
      registeredMs: registration.registeredMs ?? clock.now().wall,
    };
    beat.submit({ type: 'payload_registered', spec });
    log.info(
      { event: 'payload_registered', payload: spec.id, uid: spec.uid, ...targetFields(spec.target) },
      `payload ${spec.name} registered`,
    );
    const row = port.payload(spec.id);
    if (row) return row;
    // Only while time has just jumped and inputs wait for the sources: the row as it will be.
    const none = { deadlineMs: null, drainAtMs: null, stopAtMs: null, confirmed: true };
    return payloadRow({ spec, delivery: spec.deliverer ? 'exec' : 'daemon', episode: null }, beat.state().policy, none);
  }

  const settled = (async () => {
    await Promise.race([channels.answered, after(READY_AT_LATEST_MS)]);
    ready = true;
    log.info(
      { event: 'ready', phase: port.publication().snapshot.phase, runtime_dir: config.runtimeDir },
      `ready, publishing under ${config.runtimeDir}`,
    );
  })();
  const listening = openDoors();

  return {
    async ready() {
      await Promise.all([settled, listening]);
    },
    health: port.health,
    watch(listener) {
      listener(port.publication().snapshot);
      port.subscribe(({ snapshot }) => listener(snapshot));
    },
    reconfigure(next) {
      const fixed = fixedAtStart(config);
      for (const [key, value] of Object.entries(fixedAtStart(next))) {
        if (JSON.stringify(value) !== JSON.stringify(fixed[key]))
          log.warn({ event: 'restart_needed', key }, `${key} changed: it takes effect at the next start`);
      }
      config = {
        ...next,
        runtimeDir: config.runtimeDir,
        stateDir: config.stateDir,
        journalDir: config.journalDir,
        listen: config.listen,
      };
      startSources();
      care.reconfigure(config);
      webhooks.reconfigure(config.webhooks);
      configurationTaken(true);
      log.info({ event: 'reconfigured' }, 'configuration read again');
    },
    configurationRefused: () => configurationTaken(false),
    async stop() {
      stopping = true;
      output.stop();
      care.stop();
      channels.stop();
      inhibitor.close();
      // The doors first: what was answered with "registered" must be in the journal.
      const closed = listening.then(() => http?.close());
      await Promise.race([Promise.allSettled([closed, webhooks.stop(), reports.close()]), after(STOP_BOUND_MS)]);
      beat.stop();
      await Promise.race([memory.flush(), after(STOP_BOUND_MS)]);
      journal.close();
      unlink();
      output.release();
    },
  };
}

function targetFields(target: PayloadTarget): Readonly<Record<string, unknown>> {
  if (target.kind === 'process') return { pid: target.leader.pid };
  return target.kind === 'unit' ? { unit: target.unit } : { cgroup: target.path };
}

/** Sources that were found by a sign of this machine and have spoken before: a sign that is gone does not unmake them. */
const knownSources = ({ sources }: State): ReadonlySet<string> =>
  new Set(Object.values(sources).flatMap(({ info, everGood }) => (everGood && info.found ? [info.name] : [])));

/** Where the table of the logind source names another bus, the lock is taken there too. */
function busOption({ source }: Config): { readonly busAddress?: string } {
  const table = source['logind'] as { readonly bus?: string } | undefined;
  return table?.bus === undefined ? {} : { busAddress: table.bus };
}

const unreachable = (): never => {
  throw new Error('nothing is published before the first step of the heart');
};

function liveSources(channels: Channels, publication: Publication): readonly LiveSource[] {
  return channels.live().map((live) => {
    const shown = publication.snapshot.sources.find((source) => source.name === live.name);
    return shown === undefined ? live : { ...live, state: shown.state, faults: shown.faults };
  });
}

function readiness(
  ready: boolean,
  broken: string | null,
  silent: readonly string[],
): { readonly ready: boolean; readonly reason: string } {
  if (broken !== null) return { ready: false, reason: `the published files cannot be written (${broken})` };
  if (ready) return { ready: true, reason: 'ok' };
  return {
    ready: false,
    reason: `waiting for the first answer of ${silent.join(', ') || 'the sources'}`,
  };
}

const after = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms).unref());
