/**
 * The answer as key files in a directory that the host shares with this machine, in the manner of `$JOBFEATURES`: a value
 * and a newline, absent is absent; `shutdown_message` without newline, as everywhere (mjf.md, "VM to site"). Files are
 * written by a child (deliver.ts): a share that hangs must not take the agent with it.
 */
import fs from 'node:fs';
import path from 'node:path';
import { mountPoints } from '../mount-points.ts';
import { deliverTo } from './deliver.ts';
import type { DeliveryFailure, Reporter, ReporterEnvironment } from './reporter.ts';
import { NO_CHANNEL, openValues, type Values } from './values.ts';

/** A mount may come later. A child costs more than all the rest of the agent in that time, so not more often. */
const LOOK_AGAIN_MS = 60_000;

export interface DirectoryOptions extends Pick<ReporterEnvironment, 'log' | 'count'> {
  readonly path: string;
  /** Used where it exists; otherwise somebody has named it, and that it is missing is told. */
  readonly optional: boolean;
  readonly self: { readonly command: string; readonly args: readonly string[] };
  readonly lookAgainMs?: number;
  readonly spacingMs?: number;
}

export function openDirectory(options: DirectoryOptions): Reporter {
  const { path: directory, optional, self, lookAgainMs = LOOK_AGAIN_MS, ...rest } = options;
  const deliver = deliverTo({ url: null, directory, ca: null, cert: null, key: null, noLinks: optional }, self);
  /** What stands there; a key that is not mentioned may be anything, from a former run. */
  const there = new Map<string, string | null>();
  let missingUntilMono = 0;
  let toldUnfit = false;

  async function tell(values: Values, signal: AbortSignal): Promise<DeliveryFailure | null> {
    if (optional && (performance.now() < missingUntilMono || isMissing(directory))) return NO_CHANNEL;
    for (const [name, value] of Object.entries(values)) {
      if (there.get(name) === value) continue;
      there.delete(name);
      const failure = await deliver(name, value === null ? null : contentOf(name, value), signal);
      if (failure === null) {
        there.set(name, value);
        toldUnfit = false;
        continue;
      }
      // Of what there is to say the outbox tells; one that gave way to what is urgent says nothing of the directory.
      if (!signal.aborted && Object.values(values).every((each) => each === null)) unfit(failure);
      return isAbsence(failure) ? absent(failure) : failure;
    }
    return null;
  }

  /** While there is nothing to say yet: whoever has named the place must not find out only at the end. */
  function unfit({ code }: DeliveryFailure): void {
    if (optional || toldUnfit) return;
    toldUnfit = true;
    rest.log.warn(
      { event: 'report_directory_unfit', path: directory, error: code },
      `directory: ${directory} (report.directory.path) cannot be written to (${code})`,
    );
  }

  function absent(failure: DeliveryFailure): DeliveryFailure {
    // Whatever comes there is another directory.
    there.clear();
    if (!optional) return failure;
    missingUntilMono = performance.now() + lookAgainMs;
    return NO_CHANNEL;
  }

  return openValues({
    ...rest,
    reporter: 'directory',
    isThere: () => true,
    tell,
    againMs: lookAgainMs,
    absence: 'debug',
  });
}

const contentOf = (name: string, value: string): Buffer =>
  Buffer.from(name === 'shutdown_message' ? value : `${value}\n`);

const isAbsence = ({ code }: DeliveryFailure): boolean => /^(enoent|enotdir)$/.test(code);

/**
 * On most machines there is no such directory, and a child each minute would be their only work. Where nothing is mounted,
 * it would stand on this machine's own /run, and a look at that cannot hang. Anything else is the child's to find out.
 */
function isMissing(directory: string): boolean {
  const parent = path.dirname(directory);
  const mounted = mountPoints('/');
  if (mounted === null || mounted.has(parent) || mounted.has(directory)) return false;
  try {
    // A link may lead anywhere.
    if (!fs.lstatSync(parent).isSymbolicLink()) fs.lstatSync(directory);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
}
