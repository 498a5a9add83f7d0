/**
 * Which events of the last document wait for a word that they may begin (`StartRequests`), and for whose. The word releases
 * every machine that an event is about, so a wrong one costs somebody else's work: what is not certain here does not wait.
 */
import type { ScheduledEvent } from './azure-events.ts';
import type { OwnName } from './azure-name.ts';
import { SourceError } from './source.ts';

/** StatedNotice.awaits */
export type Awaits = 'own' | 'shared';

export interface WaitingEvents {
  /** Takes what a document lists; by the ids of notices, those that wait. */
  learn(events: readonly ScheduledEvent[]): ReadonlyMap<string, Awaits>;
  /**
   * The `EventId` as the host wrote it, of the event that is known to the heart under this id.
   * @throws SourceError `gone`: not listed any more, or it waits no more, or is about others; and for what may be otherwise in a
   * moment `not_heard`, `own_name_unknown`, `changed`.
   */
  eventId(notice: string): string;
}

export function createWaitingEvents(name: Pick<OwnName, 'awaitedBy'>): WaitingEvents {
  /** By id of notice, which was made of the `EventId` and may have been shortened. */
  let listed: ReadonlyMap<string, readonly ScheduledEvent[]> | undefined;
  let stated: ReadonlyMap<string, Awaits> = new Map();
  /** Of these the last document says otherwise than the one before: who was told so may not know it yet. */
  let changed: ReadonlySet<string> = new Set();

  return {
    learn(events) {
      const before = stated;
      // No longer than the document, which is bounded.
      listed = groupById(events);
      const now = [...listed].flatMap(([id, same]): readonly (readonly [string, Awaits])[] => {
        const word = wordOf(same, name);
        return 'awaits' in word ? [[id, word.awaits]] : [];
      });
      stated = new Map(now);
      changed = new Set(now.filter(([id, awaits]) => before.has(id) && before.get(id) !== awaits).map(([id]) => id));
      return stated;
    },
    eventId(notice) {
      if (listed === undefined) throw new SourceError('not_heard', 'no list of scheduled events has come yet');
      const word = wordOf(listed.get(notice) ?? [], name);
      if ('code' in word) throw new SourceError(word.code, `scheduled event ${notice}: ${word.why}`);
      if (changed.has(notice) || stated.get(notice) !== word.awaits)
        throw new SourceError('changed', `scheduled event ${notice}: whom it is about has just changed`);
      return word.eventId;
    },
  };
}

type Word =
  | { readonly eventId: string; readonly awaits: Awaits }
  | { readonly code: 'gone' | 'own_name_unknown'; readonly why: string };

/** Of all entries under one id. Where they do not agree whether it waits, it does not. */
function wordOf(events: readonly ScheduledEvent[], name: Pick<OwnName, 'awaitedBy'>): Word {
  const [first] = events;
  if (first === undefined) return { code: 'gone', why: 'not listed any more' };
  const { eventId } = first;
  if (eventId === undefined || events.some((each) => each.eventId !== eventId))
    return { code: 'gone', why: 'it has no id of its own' };
  if (!events.every(({ isWaiting }) => isWaiting)) return { code: 'gone', why: 'it does not wait any more' };
  const awaited = events.map(({ resources }) => name.awaitedBy(resources ?? []));
  if (awaited.includes('unknown')) return { code: 'own_name_unknown', why: 'the name of this machine is not known' };
  if (awaited.includes('nobody')) return { code: 'gone', why: 'it is not about this machine' };
  return { eventId, awaits: awaited.includes('shared') ? 'shared' : 'own' };
}

function groupById(events: readonly ScheduledEvent[]): ReadonlyMap<string, readonly ScheduledEvent[]> {
  // A Map: the ids are the host's, and `__proto__` is a fine id.
  const groups = new Map<string, ScheduledEvent[]>();
  for (const event of events) {
    const group = groups.get(event.id);
    if (group === undefined) groups.set(event.id, [event]);
    else group.push(event);
  }
  return groups;
}
