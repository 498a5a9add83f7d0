/**
 * The published files' side of the wiring: whose the directories are, what is written at once and what a moment later, and
 * what becomes of output that somebody else has changed. `agent.ts` says when; the rooms below publish/ say how.
 */
import path from 'node:path';
import type { Logger } from 'pino';
import { claim } from './claim.ts';
import type { Clock } from './clock.ts';
import type { Config } from './config.ts';
import { mountPoints } from './mount-points.ts';
import type { Publication } from './ports.ts';
import { openFilePublisher } from './publish/files.ts';
import { shutdownTimeFile } from './publish/shutdown-time.ts';

/** DESIGN.md, "Interfaces": a reader can tell a dead agent by the age of `lifetime.json`. */
const TOUCH_MS = 30_000;
/** Who registers waits so long for the files of the view; a disk that is slower holds up nobody's payload. */
const FILES_BOUND_MS = 1_000;

export interface Output {
  /** Writes what has changed, bounded in time; the rest follows once the signals are out. */
  show(publication: Publication): void;
  /** Once the files show what was shown last, or a bound is over. Never rejects. */
  written(): Promise<void>;
  /** Each second: what was disturbed is made good, what could not be written is tried again. */
  look(publication: Publication | null): void;
  /** Code of what keeps the files from being written, while something does. */
  broken(): string | null;
  /** Nothing more is completed behind what was shown. */
  stop(): void;
  /** The directories are anybody's again. */
  release(): void;
}

export interface OutputOptions {
  readonly config: Pick<Config, 'runtimeDir' | 'journalDir' | 'publish'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly root: string;
  count(metric: string): void;
  observe(metric: string, value: number): void;
}

/** Throws `ClaimError` where another agent lives, `RuntimeDirError` where the directory cannot be ours. */
export function openOutput(options: OutputOptions): Output {
  const { config, clock, log, root } = options;
  const { runtimeDir } = config;
  const releases = [claim(runtimeDir, 0o755), claim(config.journalDir, 0o700)];
  const release = (): void => {
    for (const each of releases) each();
  };
  const openFiles = () =>
    openFilePublisher({
      dir: runtimeDir,
      covered: () => coveredBy(mountPoints(root), runtimeDir),
      now: () => clock.now(),
      onError(code, detail) {
        options.count('mjf_publish_errors_total');
        log.error({ event: 'publish_failed', code }, detail);
      },
      onRecovery() {
        log.info({ event: 'publish_recovered' }, 'the published files are complete again');
        renewClaim();
      },
    });
  const files = orElse(openFiles, release);
  const showShutdownTime = shutdownTimeFile(config.publish.shutdownTimeFile, log);
  /** Whether a publication is being completed, and who waits for it. */
  let finishing = false;
  const onFinished: (() => void)[] = [];
  let touchedMono = clock.now().mono;
  let stopped = false;

  function publish(publication: Publication): void {
    const begun = clock.now().mono;
    if (!files.publish(publication)) finish();
    options.observe('mjf_publish_duration_seconds', (clock.now().mono - begun) / 1000);
  }

  /**
   * The rest of a publication that was over its bound, once the signals are out. Without this it would wait for the next
   * change of the truth. What cannot be written at all waits for the tick.
   */
  function finish(): void {
    finishing = true;
    setImmediate(() => {
      finishing = !stopped && files.broken() === null && !files.flush();
      if (finishing) finish();
      else for (const tell of onFinished.splice(0)) tell();
    });
  }

  /** It went with the directory, and a second agent would believe the place to be free. */
  function renewClaim(): void {
    try {
      releases[0] = claim(runtimeDir, 0o755);
    } catch (error) {
      log.error({ event: 'claim_lost' }, (error as Error).message);
    }
  }

  return {
    show(publication) {
      publish(publication);
      showShutdownTime(publication.machine['shutdowntime']);
    },
    written() {
      if (!finishing) return Promise.resolve();
      return Promise.race([new Promise<void>((resolve) => onFinished.push(resolve)), bound()]);
    },
    look(publication) {
      if (publication !== null && files.disturbed()) {
        log.warn(
          { event: 'output_disturbed' },
          'somebody has changed the published directories: they are made complete again',
        );
        publish(publication);
        renewClaim();
      } else if (files.broken() !== null) files.flush();
      const { mono } = clock.now();
      if (mono - touchedMono < TOUCH_MS) return;
      touchedMono = mono;
      files.touch();
    },
    broken: files.broken,
    stop() {
      stopped = true;
    },
    release,
  };
}

function orElse<T>(open: () => T, release: () => void): T {
  try {
    return open();
  } catch (error) {
    release();
    throw error;
  }
}

const bound = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, FILES_BOUND_MS).unref());

/** A mount that followed our link from /etc lies on the output itself. */
function coveredBy(mounts: ReadonlySet<string> | null, runtimeDir: string): ReadonlySet<string> {
  return new Set(['machinefeatures', 'jobfeatures'].filter((name) => mounts?.has(path.join(runtimeDir, name))));
}
