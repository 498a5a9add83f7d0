/**
 * Source `directory`: machine and job features in directories that the host shares with, mounts into or writes in this
 * machine (HSF-TN-2016-02; facts in SYSTEMS.md, "Hung shares"). Each side (machine, job) is found and read by itself.
 */
import path from 'node:path';
import type { Static } from 'typebox';
import type { Answer, Side } from '../lifetime/types.ts';
import { createReaders } from './directory/child.ts';
import { fsTypeAt, isLocalType, mountAt, mountTableReader, ownOutputPaths, safeResolve } from './directory/mounts.ts';
import { HUNG_AFTER_MS, START_TIMEOUT_MS } from './directory/reader-process.ts';
import { type DirectoryReading, readDirectory } from './directory/scan.ts';
import { createSide, type SideOutcome } from './directory/side.ts';
import { createWatches } from './directory/watch.ts';
import { pollOf } from './poll.ts';
import { type Source, type SourceDefinition, type SourceEnvironment, SourceError } from './source.ts';

export const directorySchema = {
  type: 'object',
  additionalProperties: false,
  description: 'Machine/Job Features in directories that the host shares with this machine or writes in it.',
  properties: {
    machinefeatures: {
      type: 'string',
      pattern: '^/',
      description:
        'Directory of the machine features. Default: $MACHINEFEATURES, /etc/machinefeatures or /run/mjf-host/machinefeatures.',
    },
    jobfeatures: {
      type: 'string',
      pattern: '^/',
      description:
        'Directory of the job features. Default: $JOBFEATURES, /etc/jobfeatures or /run/mjf-host/jobfeatures.',
    },
    poll: {
      type: 'string',
      format: 'poll',
      default: '1s',
      description: 'How often the directories are read besides change notification.',
    },
    reader: {
      type: 'string',
      enum: ['auto', 'child', 'inline'],
      default: 'auto',
      description: 'Who reads: a child process for shares that may hang (auto), always (child) or never (inline).',
    },
  },
} as const;

export type DirectoryConfig = Static<typeof directorySchema>;

/** Of this very process, so also where a test pretends another root: our own children live in no pretended /proc. */
const PROC = '/proc';
const MOUNTINFO = '/proc/self/mountinfo';
/** A child that starts late and then finds the share hung, and a little for ourselves. */
const TIMEOUT_MS = START_TIMEOUT_MS + HUNG_AFTER_MS + 1000;
const SIDES: readonly Side[] = ['machine', 'job'];

/**
 * Always one source, since a host may mount its directory late: until then `no_channel`. Both sides failing, or the only
 * one there is, is a SourceError; one failing beside a good one shows as `unknown` keys of its side. Throws RangeError
 * for a `poll` that is no duration.
 */
export const directorySource: SourceDefinition<DirectoryConfig> = {
  name: 'directory',
  schema: directorySchema,
  followsPointers: true,
  create: (config, environment) => [createDirectorySource(config, environment)],
};

function createDirectorySource(config: DirectoryConfig, environment: SourceEnvironment): Source {
  const { root, runtimeDir, log } = environment;
  const mounts = mountTableReader(path.join(root, 'proc/self/mountinfo'), MOUNTINFO);
  const watches = createWatches(log);
  let changed: (() => void) | undefined;
  const readers = createReaders({ environment, proc: PROC, onReturn: () => changed?.() });
  /** Of the reading that runs: afterwards all other children and watches end. */
  const mountsInUse = new Set<string>();
  const watchable = new Set<string>();
  let hasRead = false;

  /** Where this one path must be read from, and its reading. */
  const readPath = async (file: string, signal: AbortSignal): Promise<DirectoryReading> => {
    const table = mounts();
    const viaChild = (mountPoint: string, where: string) => {
      mountsInUse.add(mountPoint);
      return readers.read(mountPoint, where, signal);
    };
    if (config.reader === 'child') {
      const resolved = safeResolve(file, { table, ownOutput: ownOutputPaths(runtimeDir, table) });
      if (resolved.kind === 'local') return viaChild(resolved.mount?.mountPoint ?? '/', resolved.realPath);
    }
    const reading = readDirectory(file, {
      table,
      runtimeDir,
      anywhere: config.reader === 'inline',
      onDirectory: (realPath, identity) => {
        watchable.add(realPath);
        watches.follow(realPath, identity, () => isLocalType(fsTypeAt(realPath, mounts())));
      },
    });
    return reading.kind === 'foreign' ? viaChild(reading.mountPoint, reading.path) : reading;
  };

  const sides = SIDES.map((side) =>
    createSide({
      side,
      candidates: () => candidatesOf(side, config, environment, mounts),
      isPointed: (place) => place === pointedPlace(side, environment) && !isUsual(side, place, config, environment),
      read: readPath,
      log,
    }),
  );

  return {
    name: 'directory',
    rank: 'directory',
    poll: pollOf(config.poll ?? '1s'),
    timeoutMs: TIMEOUT_MS,
    async read({ signal }) {
      hasRead = true;
      mountsInUse.clear();
      watchable.clear();
      const [machine, job] = await Promise.all(sides.map((side) => side.read(signal)));
      readers.retain(mountsInUse);
      watches.retain(watchable);
      if (machine === undefined || job === undefined) throw new SourceError('internal', 'a side was not read');
      return combine(machine, job);
    },
    watch(onChange, signal) {
      changed = onChange;
      watches.start(onChange, signal);
      signal.addEventListener(
        'abort',
        () => {
          changed = undefined;
        },
        { once: true },
      );
      // Watches are set up by the next reading, before it looks: so nothing that changed since the last one is missed.
      if (hasRead) setImmediate(() => changed?.());
    },
    close() {
      changed = undefined;
      watches.close();
      readers.close();
    },
  };
}

/** A place that the metadata names, and that is looked at without its word too. */
function isUsual(side: Side, place: string, config: DirectoryConfig, { root, env }: SourceEnvironment): boolean {
  const name = side === 'machine' ? 'machinefeatures' : 'jobfeatures';
  return [config[name], env[name.toUpperCase()], ...['etc', 'run/mjf-host'].map((dir) => path.join(root, dir, name))]
    .filter((usual) => usual !== undefined)
    .some((usual) => path.resolve('/', usual) === place);
}

/** Where this side may be, best first. Configuration names one place; so does a variable, unless it leads to ourselves. */
function candidatesOf(
  side: Side,
  config: DirectoryConfig,
  environment: SourceEnvironment,
  mounts: ReturnType<typeof mountTableReader>,
): readonly string[] {
  const name = side === 'machine' ? 'machinefeatures' : 'jobfeatures';
  const configured = config[name];
  if (configured !== undefined) return [path.resolve('/', configured)];
  const variable = environment.env[name.toUpperCase()];
  if (variable?.startsWith('/') === true) {
    const table = mounts();
    const resolved = safeResolve(variable, { table, ownOutput: ownOutputPaths(environment.runtimeDir, table) });
    if (resolved.kind !== 'own_output') return [variable];
  }
  const pointed = pointedPlace(side, environment);
  // What the host itself mounts comes first: it does not change when metadata that came late names another place.
  const places = [
    path.join(environment.root, 'etc', name),
    path.join(environment.root, 'run/mjf-host', name),
    ...(pointed === undefined ? [] : [pointed]),
  ];
  // A mount that followed a link of ours: we publish beside it (SYSTEMS.md, "systemd").
  const output = path.join(environment.runtimeDir, name);
  return mountAt(output, mounts())?.mountPoint === output ? [...places, output] : places;
}

/** By a platform's metadata (mjf.md, "Locations"). */
function pointedPlace(side: Side, { pointers }: SourceEnvironment): string | undefined {
  const place = pointers[side === 'machine' ? 'machinefeatures' : 'jobfeatures'];
  return place?.startsWith('/') === true ? path.resolve('/', place) : undefined;
}

function combine(
  machine: SideOutcome,
  job: SideOutcome,
): { outcome: 'answer'; answer: Answer } | { outcome: 'no_channel'; detail: string } {
  const outcomes = [machine, job];
  if (outcomes.every((outcome) => outcome.kind === 'none')) {
    return { outcome: 'no_channel', detail: outcomes.map((outcome) => outcome.detail).join('; ') };
  }
  if (!outcomes.some((outcome) => outcome.kind === 'read')) {
    const failures = outcomes.flatMap((outcome) => (outcome.kind === 'failed' ? [outcome.error] : []));
    throw new SourceError(failures[0]?.code ?? 'internal', failures.map((error) => error.message).join('; '));
  }
  return {
    outcome: 'answer',
    answer: {
      ...(machine.kind === 'none' ? {} : { machine: machine.reading }),
      ...(job.kind === 'none' ? {} : { job: job.reading }),
    },
  };
}
