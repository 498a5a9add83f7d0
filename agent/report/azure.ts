/**
 * Azure: tells the platform that it may begin with what it has announced, in place of waiting for its time (SEMANTICS S5.4;
 * platforms.md, "Azure", StartRequests). An acknowledgement releases every machine that the event names.
 */
import type { SnapshotNotice } from '../lifetime/types.ts';
import { openOutbox } from './outbox.ts';
import { CLOSE_BOUND_MS, type Reporter, type ReporterEnvironment, type SiteNews } from './reporter.ts';

const SOURCE = 'azure';
/** Ids of its notices: `azure/EVENT`. */
const PREFIX = `${SOURCE}/`;
/** It has begun by itself, or has been taken back; or the source is not in use any more. */
const NOBODY_WAITS: ReadonlySet<string> = new Set(['gone', 'no_channel']);
/** What is sent is the event's id alone; the outbox wants a content. */
const WORD = Buffer.from('start');

export interface AzureOptions extends ReporterEnvironment {
  /** Also events that are about other machines, too. */
  readonly ackShared: boolean;
}

export function openAzure({ ackShared, back, log, count }: AzureOptions): Reporter {
  /** Events that the outbox has been given: one that is refused for good is not tried again. */
  const asked = new Set<string>();
  const toldWithheld = new Set<string>();

  const outbox = openOutbox({
    reporter: SOURCE,
    log,
    count,
    async deliver(event, _body, signal) {
      const failure = await back.acknowledge(SOURCE, event, signal);
      const notice = `${PREFIX}${event}`;
      if (failure === null) log.info({ event: 'acknowledged', notice }, `azure may begin with ${notice}`);
      if (failure === null || !NOBODY_WAITS.has(failure.code)) return failure;
      log.info({ event: 'ack_not_needed', notice, error: failure.code }, `azure does not wait with ${notice} any more`);
      return { code: 'no_channel', final: true };
    },
  });

  function mayBegin({ id, awaits }: SnapshotNotice): boolean {
    if (awaits === 'own' || (awaits === 'shared' && ackShared)) return true;
    if (awaits === 'shared' && !toldWithheld.has(id)) {
      toldWithheld.add(id);
      log.info(
        { event: 'ack_withheld', notice: id },
        `${id} is about other machines, too: azure is not told to begin (report.azure.ack_shared)`,
      );
    }
    return false;
  }

  return {
    name: SOURCE,
    update({ publication, released }: SiteNews) {
      const ready = publication.snapshot.notices.filter(
        (notice) => notice.id.startsWith(PREFIX) && released.includes(notice.id) && mayBegin(notice),
      );
      const events = new Set(ready.map(({ id }) => id.slice(PREFIX.length)));
      for (const event of asked) {
        if (events.has(event)) continue;
        // A payload has come, or the event is gone: what has not been said must not be said any more.
        outbox.drop(event);
        asked.delete(event);
      }
      for (const event of events) {
        if (asked.has(event)) continue;
        asked.add(event);
        outbox.want(event, WORD, { urgent: true });
      }
    },
    owesLastWord: () => false,
    pending: () => outbox.pending().length,
    close: async () => void (await outbox.close(CLOSE_BOUND_MS)),
  };
}
