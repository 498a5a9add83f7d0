/** An AgentPort without an agent: what the HTTP side reads is set by the test, what it submits is written down. */
import { createHash, randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { jobStatus, lifetimeDocument } from '../../../agent/lifetime/document.ts';
import type { Input, PayloadSpec, Snapshot, SnapshotPayload } from '../../../agent/lifetime/types.ts';
import type { UnitInfo } from '../../../agent/payloads/units.ts';
import type { AgentPort, CgroupLookUp, LiveSource, Publication } from '../../../agent/ports.ts';

export const NOW_MS = 1_766_439_000_000;

export const SNAPSHOT: Snapshot = {
  phase: 'running',
  deadlineMs: null,
  localDeadlineMs: null,
  graceSecs: null,
  stopGraceSecs: 120,
  drainAtMs: null,
  stopAtMs: null,
  reason: null,
  overdue: false,
  terminationAllowed: null,
  canTerminate: null,
  notices: [],
  machine: { total_cpu: { value: '8', source: 'directory', sinceMs: NOW_MS - 9_000_000, stale: false } },
  job: { job_id: { value: 'vm-17', source: 'self', sinceMs: NOW_MS, stale: false } },
  sources: [],
  pointers: {},
  payloads: { running: 0, stopping: 0, stopped: 0 },
  nextChangeMs: null,
};

export interface FakePort extends AgentPort {
  /** Publishes a changed Snapshot, to everyone who listens. */
  publish(change: Partial<Snapshot>): Publication;
  /** Replaces rows without publishing. */
  setPayload(payload: SnapshotPayload): void;
  removePayload(id: string): void;
  readonly inputs: Input[];
  readonly outputs: { name: string; body: string; uid: number }[];
  readonly counts: Map<string, number>;
  /** Next time `count` is called with this name and these label values. */
  counted(key: string): Promise<void>;
  outputAnswer: 'stored' | 'no_channel' | 'full' | 'taken';
  ready: boolean;
  healthy: boolean;
  live: LiveSource[];
  /** What systemd and the kernel say, by what is asked for. */
  readonly units: Map<string, UnitInfo>;
  readonly cgroups: Map<string, CgroupLookUp>;
  nowMs(): number;
  setNow(ms: number): void;
}

export function fakePort(): FakePort {
  let snapshot = SNAPSHOT;
  let now = NOW_MS;
  const payloads = new Map<string, SnapshotPayload>();
  const listeners = new Set<(publication: Publication) => void>();
  const counters = new EventEmitter();
  let publication = build();

  function build(): Publication {
    const lifetimeJson = Buffer.from(`${JSON.stringify(lifetimeDocument(snapshot), null, 1)}\n`);
    const values = (side: Snapshot['machine']) =>
      Object.fromEntries(Object.entries(side).map(([key, { value }]) => [key, value]));
    const job = values(snapshot.job);
    return {
      snapshot,
      lifetimeJson,
      etag: `"${createHash('sha256').update(lifetimeJson).digest('hex').slice(0, 16)}"`,
      machine: values(snapshot.machine),
      job,
      jobstatus: jobStatus(snapshot),
      views: Object.fromEntries(
        [...payloads.values()].map(({ spec }) => [spec.token ?? '', { job: { ...job, ...spec.limits } }]),
      ),
      payloads: [...payloads.values()],
    };
  }
  function tell(): Publication {
    publication = build();
    for (const listener of [...listeners]) listener(publication);
    return publication;
  }
  function apply(input: Input): void {
    if (input.type === 'payload_updated') {
      const payload = payloads.get(input.id);
      if (payload !== undefined) payloads.set(input.id, { ...payload, spec: { ...payload.spec, ...input.change } });
    } else if (input.type === 'final_word') {
      const payload = payloads.get(input.id ?? '');
      if (payload !== undefined)
        payloads.set(payload.spec.id, { ...payload, spec: { ...payload.spec, word: input.word } });
    } else if (input.type === 'payload_gone') payloads.delete(input.id);
    else if (input.type === 'operator_notice') {
      const notice = {
        ...input.notice,
        id: input.id,
        source: 'operator',
        firstSeenMs: now,
        stale: false,
        expired: false,
        ignored: false,
        brokenPromise: false,
      };
      snapshot = { ...snapshot, notices: [...snapshot.notices, notice] };
    } else if (input.type === 'ignore') {
      const notices = snapshot.notices.map((each) => (each.id === input.id ? { ...each, ignored: true } : each));
      snapshot = { ...snapshot, notices };
    } else if (input.type === 'operator_cancel') {
      snapshot = {
        ...snapshot,
        notices: snapshot.notices.filter(({ id, source }) => source !== 'operator' || (input.id ?? id) !== id),
      };
    }
  }

  const port: FakePort = {
    publication: () => publication,
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    sources: () => port.live,
    register(registration) {
      const spec: PayloadSpec = {
        ...registration,
        id: `p${payloads.size + 1}`,
        token: registration.token ?? randomUUID(),
        registeredMs: registration.registeredMs ?? now,
      };
      const row: SnapshotPayload = {
        spec,
        state: 'running',
        deadlineMs: null,
        stopAtMs: null,
        episode: 0,
        steps: spec.steps ?? [],
        plan: [],
      };
      payloads.set(spec.id, row);
      tell();
      return row;
    },
    filesWritten: async () => {},
    describeUnit: async (unit) => port.units.get(unit) ?? null,
    lookUpCgroup: (text) => port.cgroups.get(text) ?? { is: 'not_found', detail: `There is no ${text}.` },
    containment: () => 'session',
    submit(input) {
      port.inputs.push(input);
      apply(input);
      tell();
    },
    async jobOutput(name, body, uid) {
      if (port.outputAnswer === 'stored') port.outputs.push({ name, body: body.toString('utf8'), uid });
      return port.outputAnswer;
    },
    readiness: () => ({ ready: port.ready, reason: port.ready ? '' : 'no source has answered yet' }),
    health: () => ({ healthy: port.healthy, reason: port.healthy ? '' : 'main loop late' }),
    metricsText: () => '# HELP mjf_phase x\n',
    payload: (id) => payloads.get(id),
    nowMs: () => now,
    count(metric, labels = {}) {
      const key = [metric, ...Object.values(labels)].join(' ');
      port.counts.set(key, (port.counts.get(key) ?? 0) + 1);
      counters.emit(key);
    },
    publish(change) {
      snapshot = { ...snapshot, ...change };
      return tell();
    },
    setPayload(payload) {
      payloads.set(payload.spec.id, payload);
      publication = build();
    },
    removePayload(id) {
      payloads.delete(id);
      publication = build();
    },
    setNow(ms) {
      now = ms;
    },
    inputs: [],
    outputs: [],
    counts: new Map(),
    counted: (key) => new Promise((resolve) => counters.once(key, () => resolve())),
    outputAnswer: 'stored',
    ready: true,
    healthy: true,
    live: [],
    units: new Map(),
    cgroups: new Map(),
  };
  return port;
}
