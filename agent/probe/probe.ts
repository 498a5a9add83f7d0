/**
 * Looks at this machine as the daemon would at its start, once: what it says of itself, what every channel answers, and
 * what the heart makes of that. Binds nothing, locks nothing, writes nothing; works beside a daemon and without.
 */
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import { type Config, policyOf } from '../config.ts';
import { CLOCK_TOLERANCE_MS } from '../lifetime/observe.ts';
import { initialState } from '../lifetime/state.ts';
import { step } from '../lifetime/step.ts';
import type { Pointers, Snapshot, SnapshotFeature } from '../lifetime/types.ts';
import { readMachineIdentity } from '../machine-identity.ts';
import { sharedMountPoints } from '../mount-points.ts';
import { isOwnEndpoint, withoutOwnEndpoints } from '../own-endpoint.ts';
import { followable } from '../pointer-rules.ts';
import type { Choice } from '../sources/create.ts';
import type { MachineFacts } from '../sources/facts.ts';
import { readFirstBootMs } from '../state.ts';
import { type ReadRow, readOnce } from './round.ts';
import { withoutSecrets } from './shown-text.ts';
import type { ProbedMachine, ProbedSource, ProbedWould, ProbeReport } from './types.ts';

/** The metadata must leave time for the places that it names. */
const FIRST_ROUND_SHARE = 0.6;
/** A source may hand over what it has shortly after its bound. */
const SPARE_MS = 1_000;
/** Keys of a source's table that only tune it: they do not say that there is something to ask. */
const TUNING_KEYS = ['enabled', 'poll', 'slow_poll', 'timeout', 'reader', 'ca', 'cert', 'key'];

export interface ProbeOptions {
  readonly config: Config;
  /** Of this configuration and these facts (sources/create.ts). */
  readonly choices: readonly Choice[];
  readonly facts: MachineFacts;
  readonly clock: Clock;
  readonly log: Logger;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Where `/proc`, `/sys`, `/etc` begin. */
  readonly root: string;
  readonly self: { readonly command: string; readonly args: readonly string[] };
  /** About the longest that all of it may take. */
  readonly timeoutMs: number;
}

export interface Found extends Omit<ProbeReport, 'daemon' | 'hints'> {
  /** Settings and variables that name the agent itself, and were therefore not asked. */
  readonly ownOutput: readonly string[];
}

/** Never rejects for anything that a host does. */
export async function probe(options: ProbeOptions): Promise<Found> {
  const { clock, root, timeoutMs } = options;
  const { mono: startedMono } = clock.now();
  // The bounds of readings hold no process alive, and a source that waits for nothing would end it here.
  const alive = setTimeout(() => undefined, timeoutMs + SPARE_MS);
  try {
    const { config } = options;
    const ownAddresses = config.listen === 'off' ? [] : config.listen;
    const foreign = withoutOwnEndpoints({ config, env: options.env }, ownAddresses);
    const identity = readMachineIdentity(root, options.env);
    const bootWallMs = identity.bootWallMs(clock.now().wall);
    const firstBootMs = readFirstBootMs({ dir: config.stateDir, ...identity }) ?? bootWallMs;
    const round = (choices: readonly Choice[], pointers: Pointers, boundMs: number) =>
      readOnce(choices, {
        config: foreign.config,
        clock,
        boundMs,
        environment: {
          root,
          runtimeDir: config.runtimeDir,
          env: foreign.env,
          log: options.log,
          firstBootMs,
          facts: options.facts,
          pointers,
          self: options.self,
        },
      });
    const judge = (rows: readonly ReadRow[]) => judgeRows(rows, config, clock, { bootWallMs, firstBootMs });

    const isOwn = (url: string): boolean => isOwnEndpoint(url, ownAddresses);
    const allowedOf = (named: Pointers): Pointers =>
      followable(named, { isOwn, mounts: sharedMountPoints('/') }).allowed;

    let rows = await round(options.choices, {}, timeoutMs * FIRST_ROUND_SHARE);
    const pointers = allowedOf(judge(rows).pointers);
    let followed: readonly ReadRow[] = [];
    if (pointers.machinefeatures !== undefined || pointers.jobfeatures !== undefined) {
      const following = options.choices.filter(({ definition }) => definition.followsPointers === true);
      const leftMs = timeoutMs - (clock.now().mono - startedMono);
      followed = await round(following, pointers, Math.max(0, leftMs));
    }
    // As in the daemon: what a source said before its place was named still counts.
    const snapshot = judge([...rows, ...followed]);
    rows = [...rows.filter(({ info }) => !followed.some((row) => row.info.name === info.name)), ...followed];
    return {
      machine: machineOf(options.facts),
      sources: options.choices.flatMap((choice) => sourcesOf(choice, rows, { followed, pointers }, foreign, snapshot)),
      pointers: Object.fromEntries(Object.entries(pointers).map(([name, place]) => [name, withoutSecrets(place)])),
      would: wouldOf(snapshot),
      took_ms: Math.round(clock.now().mono - startedMono),
      ownOutput: foreign.dropped,
    };
  } finally {
    clearTimeout(alive);
  }
}

/** What a heart without memory makes of these answers. */
function judgeRows(
  rows: readonly ReadRow[],
  config: Config,
  clock: Clock,
  times: { readonly bootWallMs: number; readonly firstBootMs: number },
): Snapshot {
  const configure = { type: 'configure', policy: policyOf(config), sources: rows.map(({ info }) => info) } as const;
  const heard = rows.map(({ observation }) => ({ type: 'observation', observation }) as const);
  const state = initialState(times.bootWallMs, times.firstBootMs);
  return step(state, { type: 'together', inputs: [configure, ...heard] }, clock.now()).snapshot;
}

/** A path is read by one of the two that follow pointers, a URL by the other. */
const leadsTo = (source: string, { machinefeatures, jobfeatures }: Pointers): boolean =>
  [machinefeatures, jobfeatures].some((place) => place?.startsWith('/') === (source === 'directory'));

function sourcesOf(
  choice: Choice,
  rows: readonly ReadRow[],
  { followed, pointers }: { readonly followed: readonly ReadRow[]; readonly pointers: Pointers },
  channels: Pick<ProbeOptions, 'config' | 'env'>,
  snapshot: Snapshot,
): readonly ProbedSource[] {
  const made = rows.filter((row) => row.choice.definition === choice.definition);
  const sign = choice.sign ?? null;
  const why = whyOf(choice, channels);
  const channel = channelOf(choice);
  if (made.length > 0)
    return made.map((row) => ({
      name: row.info.name,
      used: true,
      // Nothing else had named a place: what was asked in the second round is what the metadata points to.
      why: why === 'always' && followed.includes(row) && leadsTo(row.info.name, pointers) ? 'metadata' : why,
      sign,
      channel,
      ...readingOf(row, snapshot),
    }));
  const unused = why === 'always' ? 'not configured' : choice.used ? 'nothing to ask' : choice.why;
  return [{ name: choice.definition.name, used: false, why: unused, sign, channel, ...UNREAD }];
}

/** What only some machines have is a host's; so is what is read from a place that a host gives. */
const channelOf = ({ definition }: Choice): ProbedSource['channel'] =>
  definition.detect !== undefined || definition.followsPointers === true ? 'host' : 'machine';

const UNREAD = {
  rank: null,
  outcome: null,
  error: null,
  detail: null,
  took_ms: null,
  clock_offset_secs: null,
  faults: {},
  asked: [],
} as const;

function readingOf(row: ReadRow, snapshot: Snapshot): Omit<ProbedSource, 'name' | 'used' | 'why' | 'sign' | 'channel'> {
  const { observation, info } = row;
  const hostNowMs = observation.outcome === 'answer' ? observation.answer.hostNowMs : undefined;
  const offsetMs = hostNowMs === undefined ? 0 : hostNowMs - row.endedWallMs;
  return {
    rank: info.rank,
    outcome: observation.outcome,
    error: observation.outcome === 'failed' ? observation.error : null,
    detail: observation.outcome === 'answer' ? null : withoutSecrets(observation.detail),
    took_ms: tenths(row.tookMs),
    clock_offset_secs: Math.abs(offsetMs) > CLOCK_TOLERANCE_MS ? Math.round(offsetMs / 1000) : null,
    faults: snapshot.sources.find(({ name }) => name === info.name)?.faults ?? {},
    asked: row.asked.map(({ asked, answered, tookMs }) => ({
      what: withoutSecrets(asked),
      answered,
      took_ms: tenths(tookMs),
    })),
  };
}

/** What made somebody use it; `always` where nothing did. */
function whyOf({ definition, why }: Choice, { config, env }: Pick<ProbeOptions, 'config' | 'env'>): string {
  if (why !== 'always') return why;
  const table = config.source[definition.name] ?? {};
  if (Array.isArray(table) || Object.keys(table).some((key) => !TUNING_KEYS.includes(key))) return 'configured';
  const takes = PLACES[definition.name];
  const named = [env['MACHINEFEATURES'], env['JOBFEATURES']].some(
    (place) => place !== undefined && takes?.test(place) && !place.startsWith(`${config.runtimeDir}/`),
  );
  return named ? 'environment' : 'always';
}

/** Which source takes which content of the two variables. */
const PLACES: Readonly<Record<string, RegExp>> = { mjf: /^https?:/i, directory: /^\// };

const machineOf = (facts: MachineFacts): ProbedMachine => ({
  dmi: facts.dmi,
  labels: facts.labels,
  cloud_id: facts.cloudId ?? null,
  hypervisor_uuid: facts.hypervisorUuid ?? null,
  fw_cfg: facts.hasFwCfg,
});

function wouldOf(snapshot: Snapshot): ProbedWould {
  return {
    phase: snapshot.phase,
    deadline: secs(snapshot.deadlineMs),
    drain_at: secs(snapshot.drainAtMs),
    stop_at: secs(snapshot.stopAtMs),
    reason: snapshot.reason,
    termination_allowed: snapshot.terminationAllowed,
    notices: snapshot.notices.map(({ id, source, kind, deadlineMs, reason, expired }) => ({
      id,
      source,
      kind,
      deadline: secs(deadlineMs),
      reason,
      expired,
    })),
    machinefeatures: featuresOf(snapshot.machine),
    jobfeatures: featuresOf(snapshot.job),
  };
}

const featuresOf = (side: Readonly<Record<string, SnapshotFeature>>): ProbedWould['machinefeatures'] =>
  Object.fromEntries(Object.entries(side).map(([key, { value, source }]) => [key, { value, source }]));

/** Rounded down, as in `lifetime.json`: nobody is told to have time that is not there. */
const secs = (ms: number | null): number | null => (ms === null ? null : Math.floor(ms / 1000));

const tenths = (ms: number): number => Math.round(ms * 10) / 10;
