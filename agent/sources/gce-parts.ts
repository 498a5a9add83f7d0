/** The keys of GCE's metadata that are asked for, and what is made of each answer. */
import type { Reading } from '../lifetime/types.ts';
import { createAttributes } from './gce-attributes.ts';
import type { GceClient } from './gce-client.ts';
import {
  isStopping,
  type OnHostMaintenance,
  PREEMPTION_NOTICE_MS,
  readFlag,
  readMaintenanceEvent,
  readOnHostMaintenance,
  readPreempted,
  readStopDetails,
  readStopState,
  readUpcoming,
  type StopDetails,
  upcomingNotice,
} from './gce-notices.ts';
import { type WatchedKey, watchedPart } from './gce-watch.ts';
import type { MetadataAnswer } from './metadata.ts';
import type { Part, PartReport } from './parts.ts';
import { type SourceEnvironment, SourceError } from './source.ts';

export interface GceTiming {
  /** Of what is polled; 0: at every reading. */
  readonly everyMs: number;
  /** How long one hanging GET may hang. */
  readonly hangMs: number;
  /** Longest that any other answer may take. */
  readonly timeoutMs: number;
  /** How long a graceful stop lasts, where the platform does not tell but the operator knows. */
  readonly gracefulMs?: number;
}

/** What can change only while the machine is stopped, or hardly ever does. */
const SLOW_POLL_MS = 600_000;
/** What only adds to a notice must not hold it up. */
const ASIDE_TIMEOUT_MS = 1_000;
const ABSENT = { is: 'absent' } as const;
const NEGATIVE = { is: 'negative' } as const;
/** Strange values that are worth a log line each. */
const MAX_STRANGE = 8;

export function gceParts(
  client: GceClient,
  { everyMs, hangMs, timeoutMs, gracefulMs }: GceTiming,
  { log }: Pick<SourceEnvironment, 'log'>,
): readonly Part[] {
  const strange = new Set<string>();
  const onHost = createOnHost(client);

  /** A value that this version does not know may be an announcement all the same: a person should hear of it. */
  function known<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error);
      if (strange.size < MAX_STRANGE && !strange.has(detail)) {
        strange.add(detail);
        log.info({ event: 'gce_unknown_value', detail }, `gce: ${detail}: not known, ignored`);
      }
      throw error;
    }
  }

  const watched = (
    name: string,
    more: Pick<WatchedKey, 'judge'> & Partial<Pick<WatchedKey, 'ask' | 'speaksFor'>>,
  ): Part =>
    watchedPart({
      name,
      ask: (request) => client.ask(`/instance/${name}`, request),
      hangMs,
      timeoutMs,
      onlyPlain: (code) =>
        log.info(
          { event: 'gce_no_hanging_get', key: name, code },
          `gce: ${name}: hanging GETs fail (${code}), polling`,
        ),
      ...more,
    });
  return [
    watched('preempted', {
      speaksFor: ['preempted'],
      judge: (answer) => ({
        ...clockOf(answer),
        notices: { preempted: answer.is === 'absent' ? ABSENT : known(() => readPreempted(answer.text)) },
      }),
    }),
    watched('maintenance-event', {
      speaksFor: ['maintenance-event'],
      async judge(answer, signal) {
        // Whatever it is that cannot be learnt now, the event itself says enough to go on with.
        const setting = answer.is === 'absent' ? undefined : await onHost.ask(signal).catch(() => undefined);
        const event = answer.is === 'absent' ? ABSENT : known(() => readMaintenanceEvent(answer.text, setting));
        return { ...clockOf(answer), notices: { 'maintenance-event': event } };
      },
    }),
    watched('shutdown-details/stop-state', {
      speaksFor: ['stop-state'],
      async judge(answer, signal) {
        if (answer.is === 'absent') return { ...clockOf(answer), notices: { 'stop-state': ABSENT } };
        const details = isStopping(answer.text) ? await stopDetails(client, answer, signal) : {};
        const assumed = gracefulMs === undefined ? {} : { gracefulMs };
        const state = known(() => readStopState(answer.text, { ...assumed, ...details }));
        return { ...clockOf(answer), notices: { 'stop-state': state } };
      },
    }),
    watched('attributes/', createAttributes(client)),
    {
      name: 'upcoming-maintenance',
      everyMs,
      speaksFor: ['upcoming-maintenance'],
      async read({ signal }) {
        const answer = await client.ask('/instance/upcoming-maintenance', {
          signal,
          query: { alt: 'json' },
          idle: [503],
        });
        if (answer.is === 'absent') return sayingNothing(answer);
        const upcoming = known(() => readUpcoming(answer.text));
        if (upcoming === undefined) return clockOf(answer);
        const notice = upcoming === 'negative' ? NEGATIVE : upcomingNotice(upcoming.startMs, await onHost.ask(signal));
        return { ...clockOf(answer), notices: { 'upcoming-maintenance': notice } };
      },
    },
    {
      name: 'scheduling/preemptible',
      everyMs: SLOW_POLL_MS,
      async read({ signal }) {
        const answer = await client.ask('/instance/scheduling/preemptible', { signal });
        return { ...clockOf(answer), derived: { machine: promises(answer) } };
      },
    },
    {
      name: 'scheduling/on-host-maintenance',
      everyMs: SLOW_POLL_MS,
      async read({ signal }) {
        await onHost.refresh(signal);
        return {};
      },
    },
    {
      name: 'id',
      everyMs: SLOW_POLL_MS,
      async read({ signal }) {
        const answer = await client.ask('/instance/id', { signal });
        const id: Reading<string> = answer.is === 'absent' ? ABSENT : { is: 'present', value: answer.text };
        return { ...clockOf(answer), derived: { job: { job_id: id } } };
      },
    },
  ];
}

/** S4.3: the service runs on the host. */
const clockOf = ({ hostNowMs }: MetadataAnswer): PartReport => (hostNowMs === undefined ? {} : { hostNowMs });

/** Only a 200 may clear: 404, and 503 with an error in words, are how some hosts say that nothing is planned. */
function sayingNothing(answer: MetadataAnswer): PartReport {
  if (answer.status === 503 && !/^\s*\{\s*"error"/.test(answer.body.toString('latin1')))
    throw new SourceError('http_503', 'upcoming-maintenance: HTTP status 503');
  return clockOf(answer);
}

/** What follows from being a spot or preemptible machine; another one promises nothing, either way. */
function promises(answer: MetadataAnswer): Readonly<Record<string, Reading<string>>> {
  if (answer.is === 'absent') return { termination_allowed: ABSENT, grace_secs: ABSENT };
  if (!readFlag(answer.text, 'preemptible')) return { termination_allowed: NEGATIVE, grace_secs: NEGATIVE };
  return {
    termination_allowed: { is: 'present', value: '1' },
    grace_secs: { is: 'present', value: String(PREEMPTION_NOTICE_MS / 1000) },
  };
}

/** `scheduling/on-host-maintenance`, remembered. `ask` takes what is known, and looks only where nothing is. */
function createOnHost(client: GceClient) {
  let known: { readonly setting: OnHostMaintenance | undefined } | undefined;
  async function look(signal: AbortSignal, timeoutMs?: number): Promise<OnHostMaintenance | undefined> {
    const answer = await client.ask('/instance/scheduling/on-host-maintenance', {
      signal,
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
    const setting = answer.is === 'absent' ? undefined : readOnHostMaintenance(answer.text);
    known = { setting };
    return setting;
  }
  return {
    ask: async (signal: AbortSignal): Promise<OnHostMaintenance | undefined> =>
      known === undefined ? await look(signal, ASIDE_TIMEOUT_MS) : known.setting,
    refresh: (signal: AbortSignal) => look(signal),
  };
}

/** Best effort: nothing of it is promised to a guest. */
async function stopDetails(
  client: GceClient,
  { hostNowMs }: MetadataAnswer,
  signal: AbortSignal,
): Promise<StopDetails> {
  try {
    const query = { recursive: 'true', alt: 'json' };
    const { text } = await client.ask('/instance/shutdown-details/', { signal, query, timeoutMs: ASIDE_TIMEOUT_MS });
    return readStopDetails(text, hostNowMs ?? Date.now());
  } catch {
    return {};
  }
}
