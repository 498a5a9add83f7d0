/** One reading of each source, all at once, each bounded: what `probe` does in place of the drivers of the daemon. */
import type { Clock } from '../clock.ts';
import type { Config } from '../config/types.ts';
import type { Observation, SourceInfo } from '../lifetime/types.ts';
import { type Choice, createOf } from '../sources/create.ts';
import { startReader } from '../sources/driver-read.ts';
import type { Source, SourceEnvironment, TraceEntry } from '../sources/source.ts';

/** A source that was made, and what became of its reading. */
export interface ReadRow {
  readonly choice: Choice;
  readonly info: SourceInfo;
  readonly observation: Observation;
  readonly tookMs: number;
  /** Wall clock at the end of the reading, to compare the host's with. */
  readonly endedWallMs: number;
  readonly asked: readonly TraceEntry[];
}

export interface RoundOptions {
  readonly config: Pick<Config, 'source'>;
  readonly environment: Omit<SourceEnvironment, 'trace'>;
  readonly clock: Clock;
  /** For the whole round; each source's own bound holds besides. */
  readonly boundMs: number;
}

/**
 * Makes the sources of these choices, reads each once and closes it. Never rejects, and calls no `watch`: nothing hangs
 * on a host afterwards, and no inhibitor is taken. Choices of which no source is made have no row.
 */
export async function readOnce(choices: readonly Choice[], options: RoundOptions): Promise<readonly ReadRow[]> {
  const rows = await Promise.all(choices.filter(({ used }) => used).map((choice) => readChoice(choice, options)));
  return rows.flat();
}

async function readChoice(choice: Choice, options: RoundOptions): Promise<readonly ReadRow[]> {
  const { definition } = choice;
  const asked: TraceEntry[] = [];
  let sources: readonly Source[];
  try {
    const environment = {
      ...options.environment,
      leavesNothing: true,
      trace: (entry: TraceEntry) => void asked.push(entry),
    };
    sources = createOf(definition, options.config, environment);
  } catch (error) {
    return [unmade(choice, error, options.clock)];
  }
  return Promise.all(
    sources.map(async (source) => {
      const reading = await read(source, options);
      source.close?.();
      // Several of one definition tell their questions apart by their own names.
      const own = sources.length === 1 ? asked : asked.filter((entry) => entry.source === source.name);
      return { choice, info: infoOf(source), ...reading, asked: [...own] };
    }),
  );
}

function read(
  source: Source,
  { clock, boundMs }: RoundOptions,
): Promise<Pick<ReadRow, 'observation' | 'tookMs' | 'endedWallMs'>> {
  const bounded: Source = {
    name: source.name,
    rank: source.rank,
    poll: source.poll,
    timeoutMs: Math.min(source.timeoutMs, boundMs),
    read: (context) => source.read({ ...context, patient: true }),
  };
  return new Promise((resolve) => {
    const reader = startReader(bounded, {
      clock,
      onStart: () => undefined,
      onEnd({ observation, startedMono, endedMono }) {
        reader.stop();
        resolve({ observation, tookMs: endedMono - startedMono, endedWallMs: clock.now().wall });
      },
    });
    reader.request(false);
  });
}

/** What the heart must know of it; in one reading nothing grows stale. */
const infoOf = ({ name, rank, poll }: Source): SourceInfo => ({
  name,
  rank,
  pollMs: typeof poll === 'number' ? poll : 0,
});

function unmade(choice: Choice, error: unknown, clock: Clock): ReadRow {
  const { name } = choice.definition;
  const detail = error instanceof Error ? error.message : String(error);
  return {
    choice,
    info: { name, rank: 'platform', pollMs: 0 },
    observation: { source: name, outcome: 'failed', error: 'internal', detail },
    tookMs: 0,
    endedWallMs: clock.now().wall,
    asked: [],
  };
}
