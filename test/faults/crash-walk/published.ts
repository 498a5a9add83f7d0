/** What a reader finds under the runtime directory, judged by rules of its own and not by the code that writes it. */
import fs from 'node:fs';
import path from 'node:path';
import { HOST } from './plan.ts';

const SIDES = ['machinefeatures', 'jobfeatures'] as const;
type Side = (typeof SIDES)[number];
const SHUTDOWN = { machinefeatures: 'shutdowntime', jobfeatures: 'shutdowntime_job' } as const;

export interface Published {
  /** In words, each thing that a reader could stumble over. */
  readonly faults: readonly string[];
  /** What `lifetime.json` says; undefined where there is none. */
  readonly deadline: number | null | undefined;
  /** Of any key file or document. */
  readonly showsDeadline: boolean;
  readonly living: number | undefined;
  readonly ended: number | undefined;
  readonly views: readonly string[];
}

/**
 * Reads everything below `dir`. Each file must be absent or whole: `value\n`, of the only value that it can have in this
 * story. The document is written last, so where it tells the deadline, both keys must too; before that they may disagree
 * only as between the two renames of one publication. `deadline`: what the host announced, if it has.
 */
export function inspect(dir: string, deadline: number | null): Published {
  const faults: string[] = [];
  const shown = Object.fromEntries(SIDES.map((side) => [side, readSide(path.join(dir, side), side, deadline, faults)]));
  const views = list(path.join(dir, 'views'));
  for (const view of views)
    for (const side of SIDES) readSide(path.join(dir, 'views', view, side), side, deadline, faults);
  checkUrl(path.join(dir, 'url'), faults);
  const document = readDocument(path.join(dir, 'lifetime.json'), deadline, faults);
  const machine = shown['machinefeatures']?.has(SHUTDOWN.machinefeatures) === true;
  const job = shown['jobfeatures']?.has(SHUTDOWN.jobfeatures) === true;
  if (typeof document?.deadline === 'number' && !(machine && job))
    faults.push('lifetime.json tells a deadline that the keys do not');
  if (job && !machine) faults.push('shutdowntime_job is there before shutdowntime');
  return {
    faults,
    deadline: document?.deadline,
    showsDeadline: machine || job || typeof document?.deadline === 'number',
    living: document?.living,
    ended: document?.ended,
    views,
  };
}

/** What `lifetime.json` says of the deadline just now; undefined: there is none yet. Throws where it is no document. */
export function deadlineInFile(dir: string): number | null | undefined {
  const text = read(path.join(dir, 'lifetime.json'));
  return text === undefined ? undefined : (JSON.parse(text) as { readonly deadline: number | null }).deadline;
}

function readSide(dir: string, side: Side, deadline: number | null, faults: string[]): ReadonlySet<string> {
  const values: Readonly<Record<string, string>> = {
    ...HOST[side],
    ...(deadline !== null && { [SHUTDOWN[side]]: String(deadline) }),
  };
  const found = new Set<string>();
  for (const name of list(dir)) {
    const text = read(path.join(dir, name));
    found.add(name);
    if (values[name] === undefined) faults.push(`${path.join(dir, name)} is no key of this story`);
    else if (text !== `${values[name]}\n`) faults.push(`${path.join(dir, name)} holds ${JSON.stringify(text)}`);
  }
  return found;
}

function readDocument(file: string, deadline: number | null, faults: string[]) {
  const text = read(file);
  if (text === undefined) return undefined;
  try {
    const document = JSON.parse(text) as {
      readonly phase: string;
      readonly deadline: number | null;
      readonly payloads: { readonly running: number; readonly stopping: number; readonly stopped: number };
    };
    const { running, stopping, stopped } = document.payloads;
    if (!text.endsWith('}\n')) faults.push('lifetime.json has no end');
    if (!/^(running|draining|stopping|stopped)$/.test(document.phase)) faults.push(`phase ${document.phase}`);
    if (document.deadline !== null && document.deadline !== deadline)
      faults.push(`lifetime.json tells deadline ${document.deadline}, the host said ${deadline}`);
    return { deadline: document.deadline, living: running + stopping, ended: stopped };
  } catch (error) {
    faults.push(`lifetime.json is no document: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}

function checkUrl(file: string, faults: string[]): void {
  const text = read(file);
  if (text !== undefined && !/^http:\/\/127\.0\.0\.1:\d+\n$/.test(text))
    faults.push(`url holds ${JSON.stringify(text)}`);
}

/** A living agent may just be removing it: not there is empty. */
function list(dir: string): readonly string[] {
  try {
    return fs.readdirSync(dir);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

function read(file: string): string | undefined {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
