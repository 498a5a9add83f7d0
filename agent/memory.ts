/** What former runs wrote, read at the start and kept up to date: the journal of this boot and the state that outlives it. */
import type { Logger } from 'pino';
import type { Config } from './config/types.ts';
import { type Journal, openJournal } from './journal.ts';
import { initialState, outlivesBoot, partsOf, restoreState, type State } from './lifetime/state.ts';
import type { Instant } from './lifetime/types.ts';
import type { readMachineIdentity } from './machine-identity.ts';
import { openStateFile } from './state.ts';

export interface Memory {
  readonly state: State;
  readonly journal: Journal;
  readonly firstBootMs: number;
  save(state: State): void;
  flush(): Promise<void>;
}

/** What former runs wrote: the journal where it is of this boot, else what outlives a boot (SEMANTICS S4.1). */
export function openMemory(
  options: { readonly config: Pick<Config, 'journalDir' | 'stateDir'>; readonly log: Logger },
  identity: ReturnType<typeof readMachineIdentity>,
  now: Instant,
  bootWallMs: number,
  onError: (of: 'journal' | 'state') => void,
): Memory {
  const { config, log } = options;
  const { machineId, bootId } = identity;
  const { journal, restored } = openJournal({ dir: config.journalDir, bootId, log, onError: () => onError('journal') });
  const stateFile = openStateFile({
    dir: config.stateDir,
    machineId,
    bootId,
    log,
    onError: () => onError('state'),
    nowMs: now.wall,
    bootWallMs,
  });
  const { firstBootMs } = stateFile.restored;
  const times = { bootWallMs, firstBootMs, now };
  // The operator's part is in every journal from its first put on: without it the agent was killed before that, or the record
  // is damaged. What the state file still has of this boot goes beneath what the journal has.
  const isWhole = restored?.entries.has('operator') === true;
  const { entries: saved, sameBoot } = stateFile.restored;
  const state =
    restored !== null && (isWhole || sameBoot)
      ? restoreState(isWhole ? restored.entries : new Map([...saved, ...restored.entries]), restored.done, {
          ...times,
          sameBoot: true,
        })
      : saved.size > 0
        ? restoreState(saved, [], { ...times, sameBoot })
        : initialState(bootWallMs, firstBootMs);
  // What came from the state file is not in the journal yet, and would be missed if the next crash found the journal alone.
  if (!isWhole) journal.put([...partsOf(state)].map(([key, value]) => ({ key, value })));
  const notices = Object.values(state.sources).length;
  if (notices > 0)
    log.info(
      { event: 'restored', sources: notices, payloads: Object.keys(state.payloads).length },
      'the memory of a former run is restored',
    );
  return {
    state,
    journal,
    firstBootMs,
    save: (latest) =>
      stateFile.save(new Map([...partsOf(latest)].filter(([key]) => outlivesBoot(key))), latest.firstBootMs),
    flush: () => stateFile.flush(),
  };
}
