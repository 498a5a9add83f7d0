/** `/v1/lifetime` as the commands read it: with care, since the daemon may be older or newer than this program. */
import { type Fields, fields, isFields, number, parseJson, rows, text } from './json-fields.ts';

export interface LifetimeDocument {
  readonly phase: string;
  /** UNIX seconds, like all times here; null = none. */
  readonly deadline: number | null;
  readonly drainAt: number | null;
  readonly stopAt: number | null;
  readonly graceSecs: number | null;
  readonly reason: string | null;
  readonly overdue: boolean;
  readonly terminationAllowed: boolean | null;
  readonly canTerminate: AnswerRow | null;
  readonly notices: readonly NoticeRow[];
  readonly machinefeatures: Readonly<Record<string, FeatureRow>>;
  readonly jobfeatures: Readonly<Record<string, FeatureRow>>;
  readonly sources: readonly SourceRow[];
  readonly payloads: Readonly<Record<string, number>>;
}
/** The machine's answer to its site. */
export interface AnswerRow {
  readonly now: boolean;
  readonly at: number | null;
  /** Before this, work is lost. */
  readonly mustNotUntil: number | null;
  /** 0 to 1. */
  readonly progress: number | null;
}
export interface SourceRow {
  readonly name: string;
  readonly state: string;
  readonly since: number | null;
  readonly error: string | null;
  /** How far the host's clock is ahead of ours, where that is planned with. */
  readonly clockOffsetSecs: number | null;
  /** Codes of what is wrong, by key or endpoint. */
  readonly faults: Readonly<Record<string, string>>;
}
export interface NoticeRow {
  readonly id: string;
  readonly kind: string;
  readonly deadline: number | null;
  readonly reason: string;
  /** When the agent first heard of it. */
  readonly firstSeen: number | null;
  /** `stale`, `expired`, `ignored` where true. */
  readonly marks: readonly string[];
}
export interface FeatureRow {
  readonly value: string;
  readonly source: string;
  readonly since: number | null;
  readonly stale: boolean;
}

/** Undefined when the body is no JSON object with a phase: then it is not this daemon that answers. */
export function parseLifetime(body: Buffer): LifetimeDocument | undefined {
  const document = fields(parseJson(body));
  if (typeof document['phase'] !== 'string') return undefined;
  return {
    phase: document['phase'],
    deadline: number(document['deadline']),
    drainAt: number(document['drain_at']),
    stopAt: number(document['stop_at']),
    graceSecs: number(document['grace_secs']),
    reason: typeof document['reason'] === 'string' ? document['reason'] : null,
    overdue: document['overdue'] === true,
    terminationAllowed: typeof document['termination_allowed'] === 'boolean' ? document['termination_allowed'] : null,
    canTerminate: toAnswer(document['can_terminate']),
    notices: rows(document['notices']).map(toNotice),
    machinefeatures: toFeatures(document['machinefeatures']),
    jobfeatures: toFeatures(document['jobfeatures']),
    sources: rows(document['sources']).map((row) => ({
      name: text(row['name']),
      state: text(row['state']),
      since: number(row['since']),
      error: typeof row['error'] === 'string' ? row['error'] : null,
      clockOffsetSecs: number(row['clock_offset_secs']),
      faults: Object.fromEntries(Object.entries(fields(row['faults'])).map(([key, code]) => [key, text(code)])),
    })),
    payloads: Object.fromEntries(
      Object.entries(fields(document['payloads'])).map(([state, count]) => [state, number(count) ?? 0]),
    ),
  };
}

function toAnswer(value: unknown): AnswerRow | null {
  if (!isFields(value)) return null;
  const { now, at, must_not_until: mustNotUntil, progress } = value;
  return { now: now === true, at: number(at), mustNotUntil: number(mustNotUntil), progress: number(progress) };
}

function toNotice(row: Fields): NoticeRow {
  return {
    id: text(row['id']),
    kind: text(row['kind']),
    deadline: number(row['deadline']),
    reason: text(row['reason']),
    firstSeen: number(row['first_seen']),
    marks: ['stale', 'expired', 'ignored'].filter((mark) => row[mark] === true),
  };
}

function toFeatures(value: unknown): Readonly<Record<string, FeatureRow>> {
  const entries = Object.entries(fields(value)).map(([key, raw]): [string, FeatureRow] => {
    const row = fields(raw);
    return [
      key,
      {
        value: text(row['value']),
        source: text(row['source']),
        since: number(row['since']),
        stale: row['stale'] === true,
      },
    ];
  });
  return Object.fromEntries(entries);
}
