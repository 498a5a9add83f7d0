/**
 * Azure: the Scheduled Events of the instance metadata service, and from `instance/compute` the machine's own name, whether it
 * is a spot machine, and its tags (facts "platforms", "Azure"; SEMANTICS S1). An event is acknowledged only when a reporter asks
 * for it (S5.4), and only while the last document lists it as waiting.
 */
import type { Static } from 'typebox';
import { durationMs } from '../duration.ts';
import type { Reading, StatedNotice } from '../lifetime/types.ts';
import { readCompute } from './azure-compute.ts';
import { parseScheduledEvents, type ScheduledEvents } from './azure-events.ts';
import { patientAtFirst } from './azure-first-answer.ts';
import { createOwnName, type OwnName } from './azure-name.ts';
import { type Awaits, createWaitingEvents, type WaitingEvents } from './azure-waiting.ts';
import { bounded, byId, type Readings } from './event-list.ts';
import type { MachineFacts } from './facts.ts';
import { createMetadata, type Metadata, type MetadataAnswer } from './metadata.ts';
import { type Part, type PartReport, sourceOfParts } from './parts.ts';
import { platformKeys } from './platform-schema.ts';
import { pollOf } from './poll.ts';
import { type Source, type SourceDefinition, type SourceEnvironment, SourceError } from './source.ts';

const schema = {
  type: 'object',
  additionalProperties: false,
  description: 'Azure: scheduled events, spot priority and tags from the instance metadata service.',
  properties: {
    ...platformKeys('http://169.254.169.254', '1s', 'for scheduled events'),
    slow_poll: {
      type: 'string',
      format: 'duration',
      description: "How often to ask for the machine's tags and priority.",
      default: '60s',
      atLeast: '200ms',
    },
    name: {
      type: 'string',
      minLength: 1,
      description: "This machine's name in scheduled events. Default: as the metadata service says.",
      examples: ['workers_11'],
    },
  },
} as const;

export type AzureConfig = Static<typeof schema>;

/** What the firmware of every Azure machine carries, and no other Hyper-V's. */
const ASSET_TAG = '7783-7084-3265-9085-8269-3286-77';
const EVENTS = { path: '/metadata/scheduledevents', query: { 'api-version': '2020-07-01' } };
const COMPUTE = { path: '/metadata/instance/compute', query: { 'api-version': '2021-02-01' } };
/** While the machine's own name is missing, `compute` is asked so often. */
const NAME_RETRY_MS = 2_000;
/** Both endpoints are asked at the same time: an event may be read a moment before the name. */
const NAME_WAIT_MS = 250;
/** Of damaged documents, which do not tell what is not listed any more, so many ids are remembered. */
const MAX_TAKEN = 512;
/** A host that invents event types must not fill the log. */
const MAX_TYPES_TOLD = 16;

export const azureSource: SourceDefinition<AzureConfig> = {
  name: 'azure',
  schema,
  explicitKeys: ['base_url'],
  detect: detectAzure,
  create: (config, environment) => [createAzure(config, environment)],
};

function detectAzure({ dmi, cloudId }: MachineFacts): string | undefined {
  if (dmi.chassis_asset_tag === ASSET_TAG) return `chassis_asset_tag is "${ASSET_TAG}"`;
  // Also `azure-china` and the like.
  return cloudId !== undefined && /^azure\b/.test(cloudId) ? `cloud-id is "${cloudId}"` : undefined;
}

/** `nowMs`: a monotonic clock, for how long an unknown name is waited for. */
export function createAzure(config: AzureConfig, environment: SourceEnvironment, nowMs?: () => number): Source {
  const { properties } = schema;
  const timeoutMs = durationMs(config.timeout ?? properties.timeout.default);
  const poll = pollOf(config.poll ?? properties.poll.default);
  const metadata = createMetadata(
    {
      source: 'azure',
      baseUrl: config.base_url ?? properties.base_url.default,
      timeoutMs,
      headers: () => ({ Metadata: 'true' }),
    },
    environment,
  );
  const name = createOwnName({ configured: config.name, root: environment.root, ...(nowMs && { nowMs }) });
  const waiting = createWaitingEvents(name);
  const slowMs = durationMs(config.slow_poll ?? properties.slow_poll.default);
  return sourceOfParts({
    name: 'azure',
    rank: 'platform',
    poll,
    // Beyond a request's own bound, so that a slow endpoint is told from a reading that was given up.
    timeoutMs: timeoutMs + NAME_WAIT_MS,
    parts: [
      eventsPart({
        metadata,
        name,
        waiting,
        log: environment.log,
        timeoutMs,
        everyMs: typeof poll === 'number' ? poll : 0,
      }),
      computePart(metadata, name, slowMs),
    ],
    back: { acknowledge: (event, signal) => acknowledge(metadata, waiting.eventId(event), signal) },
    close: () => metadata.close(),
  });
}

interface EventsOptions extends Pick<SourceEnvironment, 'log'>, Pick<Part, 'everyMs'> {
  readonly metadata: Metadata;
  readonly name: OwnName;
  readonly waiting: WaitingEvents;
  readonly timeoutMs: number;
}

function eventsPart({ metadata, name, waiting, log, timeoutMs, everyMs }: EventsOptions): Part {
  const typesTold = new Set<string>();
  /** Ids of listed events that were ever taken to be this machine's. */
  let taken: ReadonlySet<string> = new Set();
  /** Of all documents: back-ends that number by themselves must not take turns in denying (S1.6). */
  let highest: number | undefined;
  let presumed = false;

  const first = patientAtFirst(async (signal, within) => {
    const answer = await metadata.ask(EVENTS.path, { query: EVENTS.query, idle: [204], signal, timeoutMs: within });
    if (answer.is === 'absent' && answer.status !== 204) throw missing(EVENTS.path, answer);
    return answer;
  }, timeoutMs);

  function tellTypes(types: readonly string[]): void {
    for (const type of types) {
      if (typesTold.has(type) || typesTold.size >= MAX_TYPES_TOLD) continue;
      typesTold.add(type);
      log.info(
        { event: 'azure_unknown_event', type },
        `azure: scheduled event of an unknown type ${type}, not acted on`,
      );
    }
  }

  function tellPresumed(id: string): void {
    if (presumed) return;
    presumed = true;
    log.warn(
      { event: 'azure_name_unknown', id },
      "azure: this machine's own name cannot be learnt; every scheduled event counts as its own until it can",
    );
  }

  function judge({ events, complete }: ScheduledEvents): Readings {
    const listed: (readonly [string, Reading<StatedNotice>])[] = [];
    const own = new Set<string>();
    const awaited = waiting.learn(events);
    for (const { id, resources, isUnderstood, reading } of events) {
      if (!isUnderstood && !taken.has(id)) continue;
      const whose = resources === undefined ? 'malformed' : name.owns(resources);
      if (whose === 'presumed') tellPresumed(id);
      if (whose === 'yes' || whose === 'presumed' || (whose !== 'no' && taken.has(id))) own.add(id);
      if (whose === 'yes' || whose === 'presumed') listed.push([id, withAwaits(reading, awaited.get(id))]);
      else if (whose === 'unknown') listed.push([id, { is: 'unknown', error: 'own_name_unknown' }]);
      else if (whose === 'malformed') listed.push([id, { is: 'unknown', error: 'bad_event' }]);
      // It counted as ours until the name was known, or until it was taken off the list of machines.
      else if (taken.has(id)) listed.push([id, { is: 'negative' }]);
    }
    taken = complete ? own : new Set([...taken, ...own].slice(-MAX_TAKEN));
    return byId(listed);
  }

  return {
    name: 'scheduledevents',
    everyMs,
    async read({ signal }): Promise<PartReport> {
      const answer = await first.ask(signal);
      const hostNow = answer.hostNowMs === undefined ? {} : { hostNowMs: answer.hostNowMs };
      if (answer.is === 'absent') {
        waiting.learn([]);
        return { others: 'absent', whole: ['notices'], ...hostNow };
      }
      const document = parseScheduledEvents(answer.text);
      tellTypes(document.unknownTypes);
      if (document.events.length > 0) await name.wait(NAME_WAIT_MS);
      const { readings, complete } = bounded(judge(document));
      const notices = Object.fromEntries(readings);
      const before = highest;
      if (document.incarnation !== undefined) highest = Math.max(document.incarnation, before ?? document.incarnation);
      if (!document.complete || !complete) return { notices, isCut: true, ...hostNow };
      return { notices, others: othersBy(document, before), whole: ['notices'], ...hostNow };
    },
  };
}

const withAwaits = (reading: Reading<StatedNotice>, awaits: Awaits | undefined): Reading<StatedNotice> =>
  awaits === undefined || reading.is !== 'present' ? reading : { ...reading, value: { ...reading.value, awaits } };

/** S5.4: releases every machine that the event is about. @throws SourceError as `Metadata.ask`. */
async function acknowledge(metadata: Metadata, eventId: string, signal: AbortSignal): Promise<void> {
  const answer = await metadata.ask(EVENTS.path, {
    query: EVENTS.query,
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ StartRequests: [{ EventId: eventId }] }),
    signal,
  });
  if (answer.is === 'absent') throw missing(EVENTS.path, answer);
}

/**
 * S1.6: a document newer than all before, without an event, says that it is over, and so does an empty list without any
 * number. The same document without it, or an older one, contradicts itself: then absence must be confirmed.
 * `highest`: the number of the newest one before.
 */
function othersBy({ incarnation, events }: ScheduledEvents, highest: number | undefined): 'absent' | 'negative' {
  if (incarnation === undefined) return events.length === 0 ? 'negative' : 'absent';
  return highest !== undefined && incarnation > highest ? 'negative' : 'absent';
}

function computePart(metadata: Metadata, name: OwnName, slowMs: number): Part {
  return {
    name: 'instance/compute',
    get everyMs() {
      return name.isKnown() ? slowMs : Math.min(slowMs, NAME_RETRY_MS);
    },
    async read({ signal }) {
      const answer = await metadata.ask(COMPUTE.path, { query: COMPUTE.query, signal }).catch((error: unknown) => {
        name.cannotTell('failed');
        throw error;
      });
      if (answer.is === 'absent') {
        name.cannotTell('nobody');
        throw missing(COMPUTE.path, answer);
      }
      const compute = readCompute(answer.text);
      if (compute.name !== undefined) name.learn(compute.name);
      return compute.report;
    },
  };
}

/** 404 says that the service is not there yet (facts "platforms": to be retried), never that nothing is pending. */
const missing = (path: string, { status }: MetadataAnswer): SourceError =>
  new SourceError(`http_${status}`, `${path}: HTTP status ${status}`);
