/**
 * A stand-in for Azure's instance metadata service: scheduled events and `instance/compute`. Like the real one it insists on
 * `Metadata: true` and a version, may take its time over the first answer, counts an incarnation up with each change of the
 * list, tells of other machines' events too, and blanks `NotBefore` once an event has started. A word that an event may begin
 * counts for every machine that it is about.
 */
import { randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';
import type { StandIn } from './by-hand.ts';
import { type AskedRequest, type HostAnswer, type MetadataHost, startMetadataHost } from './metadata-host.ts';

export const EVENTS_PATH = '/metadata/scheduledevents';
export const COMPUTE_PATH = '/metadata/instance/compute';

/** `wrong-weekday`: the day of the week is not that of the date, as has been seen. */
export type TimeStyle = 'rfc1123' | 'wrong-weekday' | 'iso';

export interface GivenEvent {
  /** Freeze, Reboot, Redeploy, Preempt, Terminate, or one that nobody knows yet. */
  readonly type: string;
  /** UNIX ms; absent: blank. */
  readonly notBeforeMs?: number;
  /** Names of machines; default: this one. */
  readonly resources?: readonly string[];
  readonly style?: TimeStyle;
  /** Fields as they shall stand in the document, over everything else; undefined takes one away. */
  readonly fields?: Readonly<Record<string, unknown>>;
}

export interface Acknowledged {
  readonly id: string;
  /** Every machine that the event was about: they all go down now. */
  readonly released: readonly string[];
}

export interface AzureHost extends MetadataHost {
  /** Lists an event, or lists it anew under the same `id`; a new incarnation. Gives its EventId. */
  schedule(event: GivenEvent, id?: string): string;
  /** It has begun: `Started`, and no time any more. */
  begin(id: string): void;
  /** Done or cancelled: it is not listed any more. */
  end(id: string): void;
  /** The list changes, its number does not. */
  setIncarnationStuck(stuck: boolean): void;
  /** The next document's number, for a service that begins anew. */
  setIncarnation(incarnation: number): void;
  /** Fields of `instance/compute`; undefined takes one away. */
  setCompute(fields: Readonly<Record<string, unknown>>): void;
  /** Both ways in which the service tells of tags. */
  setTags(tags: Readonly<Record<string, string>>): void;
  /** What was released by `StartRequests`, in order. */
  readonly acknowledged: readonly Acknowledged[];
  /** Ends the delay of the first answer now. */
  enable(): void;
}

export interface AzureHostOptions {
  readonly port?: number;
  readonly address?: string;
  readonly name?: string;
  readonly priority?: string;
  /** How long after the first question the first list of events comes, ms; default 0. */
  readonly firstAnswerAfterMs?: number;
  readonly onAcknowledged?: (acknowledged: Acknowledged) => void;
}

const EVENT_VERSIONS = [
  '2017-03-01',
  '2017-08-01',
  '2017-11-01',
  '2019-01-01',
  '2019-04-01',
  '2019-08-01',
  '2020-07-01',
];
const WEEKDAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];

export async function startAzureHost(options: AzureHostOptions = {}): Promise<AzureHost> {
  const own = options.name ?? 'vm-17';
  const events = new Map<string, Record<string, unknown>>();
  const acknowledged: Acknowledged[] = [];
  let compute: Record<string, unknown> = {
    azEnvironment: 'AzurePublicCloud',
    location: 'westeurope',
    name: own,
    osType: 'Linux',
    priority: options.priority ?? 'Spot',
    resourceGroupName: 'site',
    sku: '12',
    tags: '',
    tagsList: [],
    vmId: '13f56399-bd52-4150-9748-7190aae1ff21',
    vmScaleSetName: '',
    vmSize: 'Standard_D8s_v5',
  };
  let incarnation = 1;
  let stuck = false;
  let enable: () => void = () => undefined;
  let timer: NodeJS.Timeout | undefined;
  const enabled = new Promise<void>((resolve) => {
    enable = resolve;
  });
  if (!options.firstAnswerAfterMs) enable();

  const changed = (): void => {
    if (!stuck) incarnation += 1;
  };

  async function answer(request: AskedRequest): Promise<HostAnswer> {
    if (request.headers['metadata']?.toString().toLowerCase() !== 'true' || request.headers['x-forwarded-for'])
      return json(400, { error: 'Bad request. Required metadata header not specified' });
    if (request.path === EVENTS_PATH) {
      if (!EVENT_VERSIONS.includes(request.query.get('api-version') ?? ''))
        return json(400, { error: 'Bad request. api-version is invalid or was not specified in the request.' });
      timer ??= setTimeout(enable, options.firstAnswerAfterMs ?? 0);
      timer.unref();
      await enabled;
      if (request.method === 'POST') return acknowledge(request.body);
      if (request.method !== 'GET') return json(405, { error: 'Method not allowed' });
      return json(200, { DocumentIncarnation: incarnation, Events: [...events.values()] });
    }
    if (request.path === COMPUTE_PATH) {
      if (!/^\d{4}-\d{2}-\d{2}$/.test(request.query.get('api-version') ?? ''))
        return json(400, { error: 'Bad request. api-version was not specified in the request', 'newest-versions': [] });
      return json(200, compute);
    }
    return json(404, { error: 'Not found' });
  }

  function acknowledge(body: string): HostAnswer {
    const ids = startRequestsIn(body);
    if (ids === undefined || ids.length === 0) return json(400, { error: 'Bad request. StartRequests is missing' });
    const wanted = ids.map((id) => [...events.values()].find(({ EventId }) => EventId === id));
    if (wanted.includes(undefined)) return json(400, { error: 'Bad request. No such event' });
    for (const event of wanted) {
      // What has begun begins no second time.
      if (event === undefined || event['EventStatus'] !== 'Scheduled') continue;
      Object.assign(event, { EventStatus: 'Started', NotBefore: '' });
      changed();
      const one = { id: String(event['EventId']), released: (event['Resources'] ?? []) as readonly string[] };
      acknowledged.push(one);
      options.onAcknowledged?.(one);
    }
    return { status: 200 };
  }

  function begin(id: string): void {
    Object.assign(events.get(id) ?? {}, { EventStatus: 'Started', NotBefore: '' });
    changed();
  }

  const host = await startMetadataHost(options, answer);
  return {
    ...host,
    acknowledged,
    schedule({ type, notBeforeMs, resources = [own], style, fields }, id = randomUUID().toUpperCase()) {
      const event = {
        EventId: id,
        EventStatus: 'Scheduled',
        EventType: type,
        ResourceType: 'VirtualMachine',
        Resources: resources,
        NotBefore: notBeforeMs === undefined ? '' : written(notBeforeMs, style),
        Description: 'Virtual machine is being worked on.',
        EventSource: 'Platform',
        DurationInSeconds: -1,
        ...fields,
      };
      events.set(id, event);
      changed();
      return id;
    },
    begin,
    end(id) {
      events.delete(id);
      changed();
    },
    setIncarnationStuck(wanted) {
      stuck = wanted;
    },
    setIncarnation(wanted) {
      incarnation = wanted;
    },
    setCompute(fields) {
      compute = { ...compute, ...fields };
    },
    setTags(tags) {
      const list = Object.entries(tags).map(([name, value]) => ({ name, value }));
      compute = { ...compute, tagsList: list, tags: list.map(({ name, value }) => `${name}:${value}`).join(';') };
    },
    enable: () => enable(),
    close() {
      clearTimeout(timer);
      enable();
      return host.close();
    },
  };
}

function startRequestsIn(body: string): readonly unknown[] | undefined {
  try {
    const { StartRequests: list } = JSON.parse(body) as { StartRequests?: unknown };
    return Array.isArray(list) ? list.map((each: { EventId?: unknown } | null) => each?.EventId) : undefined;
  } catch {
    return undefined;
  }
}

const json = (status: number, body: unknown): HostAnswer => ({
  status,
  headers: { 'content-type': 'application/json; charset=utf-8', server: 'IMDS/150.870.65.1854' },
  body: JSON.stringify(body),
});

function written(ms: number, style: TimeStyle = 'rfc1123'): string {
  const date = new Date(ms);
  if (style === 'iso') return date.toISOString();
  const text = date.toUTCString();
  return style === 'rfc1123' ? text : `${WEEKDAYS[(date.getUTCDay() + 3) % 7]}${text.slice(3)}`;
}

export const standIn: StandIn = {
  help: `  --name VM  --priority Spot|Regular  --first-answer-after SECS
  schedule TYPE SECS [VM]...     lists an event for these machines (default: this one), SECS from now
  begin ID|last   end ID|last    it starts, and has no time any more; it is over or cancelled
  stuck on|off                   the list changes without a new incarnation
  set FIELD VALUE                a field of instance/compute (name, priority, vmId)
  tag NAME VALUE                 one tag, in place of all
  Prints each event that it is told to begin, and the machines that go down with it.
`,
  async start(args) {
    const { values } = parseArgs({
      args: [...args],
      options: {
        port: { type: 'string' },
        address: { type: 'string' },
        name: { type: 'string' },
        priority: { type: 'string' },
        'first-answer-after': { type: 'string' },
      },
    });
    const host = await startAzureHost({
      port: Number(values.port ?? 0),
      ...(values.address === undefined ? {} : { address: values.address }),
      ...(values.name === undefined ? {} : { name: values.name }),
      ...(values.priority === undefined ? {} : { priority: values.priority }),
      firstAnswerAfterMs: Number(values['first-answer-after'] ?? 0) * 1000,
      onAcknowledged: ({ id, released }) => void process.stdout.write(`begun: ${id} (${released.join(' ')})\n`),
    });
    let last = '';
    const idOf = (word: string): string => (word === 'last' ? last : word);
    return {
      greeting: `${host.url}${EVENTS_PATH}?api-version=2020-07-01 (header Metadata: true)\n[source.azure]\nbase_url = "${host.url}"`,
      host,
      obey(verb, [first = '', second = '', ...rest]) {
        if (verb === 'schedule' && first !== '' && Number.isFinite(Number(second || 'x'))) {
          const notBeforeMs = Date.now() + Number(second) * 1000;
          last = host.schedule({ type: first, notBeforeMs, ...(rest.length === 0 ? {} : { resources: rest }) });
        } else if (verb === 'begin' && first !== '') host.begin(idOf(first));
        else if (verb === 'end' && first !== '') host.end(idOf(first));
        else if (verb === 'stuck') host.setIncarnationStuck(first === 'on');
        else if (verb === 'set' && first !== '') host.setCompute({ [first]: [second, ...rest].join(' ') });
        else if (verb === 'tag' && first !== '') host.setTags({ [first]: [second, ...rest].join(' ') });
        else return false;
        return true;
      },
    };
  },
};
