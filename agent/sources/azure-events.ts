/**
 * The document of Azure's Scheduled Events (facts "platforms"; learn.microsoft.com, "Scheduled Events for Linux VMs") taken
 * apart: which events there are and what each means for a machine that it is about. Whom it is about, azure-name.ts says.
 */
import { DEADLINE_KINDS, type NoticeKind, type Reading, type StatedNotice } from '../lifetime/types.ts';
import { asList, asRecord, asText, parseJson } from './json.ts';
import { SourceError } from './source.ts';
import { parseInstant } from './times.ts';

export interface ScheduledEvents {
  /** `DocumentIncarnation`; undefined where it is missing or no number. */
  readonly incarnation: number | undefined;
  readonly events: readonly ScheduledEvent[];
  /** Every entry of the list could be read: what is not in `events` is not in the document. */
  readonly complete: boolean;
  /** Event types that this program does not know, as the host wrote them, bounded. */
  readonly unknownTypes: readonly string[];
}

export interface ScheduledEvent {
  /** `EventId`; where it is missing, the kind (S1.4). */
  readonly id: string;
  /** `EventId` as the host wrote it, to name the event to the host; `id` may be shorter. Undefined where there is none. */
  readonly eventId: string | undefined;
  /** It sets a deadline and has not begun: a word of those whom it is about would let it begin before its time. */
  readonly isWaiting: boolean;
  /** Names of the machines that it is about; undefined where that cannot be read. */
  readonly resources: readonly string[] | undefined;
  /** False: its type is not known, and it is none of this program's affairs, unless it was understood before. */
  readonly isUnderstood: boolean;
  /** `negative`: completed or cancelled. */
  readonly reading: Reading<StatedNotice>;
}

interface EventType {
  readonly name: string;
  readonly kind: NoticeKind;
  /** For an event that has begun before anybody saw its time (S1.3). */
  readonly minimumNoticeMs?: number;
  readonly onlyEarlier?: true;
}

/** Least notice of an eviction, in ms; `grace_secs` of a spot machine is the same promise. */
export const PREEMPT_NOTICE_MS = 30_000;
/** The shortest delay that a scale set's terminate notification can be given. */
const TERMINATE_NOTICE_MS = 300_000;
/** What has begun does not wait: of the quarter of an hour that came before its start nothing may be left. */
const BEGUN_NOTICE_MS = 30_000;

const TYPES: ReadonlyMap<string, EventType> = new Map(
  (
    [
      { name: 'Freeze', kind: 'freeze' },
      { name: 'Reboot', kind: 'reboot', minimumNoticeMs: BEGUN_NOTICE_MS },
      { name: 'Redeploy', kind: 'redeploy', minimumNoticeMs: BEGUN_NOTICE_MS },
      // S1.4: the time of a preemption only moves earlier.
      { name: 'Preempt', kind: 'terminate', minimumNoticeMs: PREEMPT_NOTICE_MS, onlyEarlier: true },
      { name: 'Terminate', kind: 'terminate', minimumNoticeMs: TERMINATE_NOTICE_MS },
    ] satisfies readonly EventType[]
  ).map((type) => [type.name.toLowerCase(), type]),
);

/** Not among the documented ones, but other versions of the interface and programs that imitate it have them. */
const OVER = new Set(['completed', 'canceled', 'cancelled']);
/** A GUID has 36. */
const MAX_ID = 128;
const MAX_TYPE = 64;
/** One line on a status screen. */
const MAX_DESCRIPTION = 120;

/** @throws SourceError `bad_json`, `bad_document` for what is no document of events. */
export function parseScheduledEvents(text: string): ScheduledEvents {
  const document = asRecord(parseJson(text, 'scheduledevents'));
  const list = asList(document?.['Events']);
  if (document === undefined || list === undefined)
    throw new SourceError('bad_document', 'scheduledevents has no list of events');
  const incarnation = document['DocumentIncarnation'];
  const events: ScheduledEvent[] = [];
  const unknownTypes: string[] = [];
  let complete = true;
  for (const entry of list) {
    const event = asRecord(entry);
    const given = asText(event?.['EventType']);
    if (event === undefined || given === undefined) {
      complete = false;
      continue;
    }
    const type = TYPES.get(given.trim().toLowerCase());
    if (type === undefined) unknownTypes.push(oneLine(given, MAX_TYPE));
    events.push(readEvent(event, type));
  }
  return {
    incarnation: typeof incarnation === 'number' && Number.isFinite(incarnation) ? incarnation : undefined,
    events,
    complete,
    unknownTypes,
  };
}

function readEvent(event: Readonly<Record<string, unknown>>, type: EventType | undefined): ScheduledEvent {
  const given = event['EventId'];
  const id = oneLine(asText(given) ?? '', MAX_ID);
  const resources = asList(event['Resources']);
  return {
    id: id === '' ? (type?.kind ?? '') : id,
    eventId: id !== '' && typeof given === 'string' ? given : undefined,
    isWaiting: type !== undefined && DEADLINE_KINDS.has(type.kind) && statusOf(event) === 'scheduled',
    resources: resources?.every((name) => typeof name === 'string') ? resources : undefined,
    isUnderstood: type !== undefined,
    reading: readNotice(event, type),
  };
}

function readNotice(event: Readonly<Record<string, unknown>>, type: EventType | undefined): Reading<StatedNotice> {
  if (OVER.has(statusOf(event))) return { is: 'negative' };
  if (type === undefined) return { is: 'unknown', error: 'unknown_type' };
  const deadlineMs = readTime(event['NotBefore']);
  if (deadlineMs === undefined) return { is: 'unknown', error: 'bad_time' };
  const description = oneLine(asText(event['Description']) ?? '', MAX_DESCRIPTION);
  return {
    is: 'present',
    value: {
      kind: type.kind,
      deadlineMs,
      reason: description === '' ? type.name : `${type.name}: ${description}`,
      ...(type.onlyEarlier === undefined ? {} : { onlyEarlier: type.onlyEarlier }),
      ...(type.minimumNoticeMs === undefined ? {} : { minimumNoticeMs: type.minimumNoticeMs }),
    },
  };
}

const statusOf = (event: Readonly<Record<string, unknown>>): string =>
  (asText(event['EventStatus']) ?? '').trim().toLowerCase();

/** Null: no time is given, as once it has started. Undefined: one is given that cannot be read. */
function readTime(notBefore: unknown): number | null | undefined {
  if (notBefore === undefined || notBefore === null) return null;
  if (typeof notBefore !== 'string') return undefined;
  return notBefore.trim() === '' ? null : parseInstant(notBefore);
}

/** Without what a terminal would obey or a reader be misled by (control characters, reversed writing), and bounded. */
function oneLine(text: string, most: number): string {
  const plain = text
    .slice(0, 4 * most)
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\ufffd\s]+/gu, ' ')
    .trim();
  const characters = [...plain];
  return characters.length <= most ? plain : `${characters.slice(0, most - 1).join('')}…`;
}
