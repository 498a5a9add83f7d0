/** The caller's rows of `GET /v1/payloads`, as far as the screens show them. The daemon shows them to their owner and to root alone. */
import { type DaemonAnswer, request } from '../client.ts';
import { fields, isFields, number, parseJson, rows, text } from './json-fields.ts';

export interface PayloadRow {
  readonly id: string;
  readonly name: string;
  readonly state: string;
  /** UNIX seconds, like all times here; null = none. */
  readonly stopAt: number | null;
  readonly needsUntil: number | null;
  /** What it says of its own end: now, or from a time on; null where it has said nothing. */
  readonly canTerminate: { readonly now: boolean; readonly at: number | null } | null;
  /** 0 to 1. */
  readonly progress: number | null;
}

const ROOT = 0;
/** The screen does not wait for rows as it waits for the truth: without them it shows the counts. */
const ROWS_TIMEOUT_MS = 3_000;

/**
 * Over TCP, where the daemon sees who asks; root over admin.sock, which is there without an HTTP interface too. Empty when there are
 * none, or none are shown: that is no failure of who only looks.
 */
export async function ownPayloads(runtimeDir: string, signal?: AbortSignal): Promise<readonly PayloadRow[]> {
  const ask = (channel: 'tcp' | 'admin'): Promise<DaemonAnswer> =>
    request({
      channel,
      runtimeDir,
      method: 'GET',
      path: '/v1/payloads',
      timeoutMs: ROWS_TIMEOUT_MS,
      ...(signal !== undefined && { signal }),
    });
  const answer = await ask(process.getuid?.() === ROOT ? 'admin' : 'tcp');
  return 'unreachable' in answer || answer.status !== 200 ? [] : parsePayloads(answer.body);
}

export function parsePayloads(body: Buffer): readonly PayloadRow[] {
  return rows(parseJson(body)).map((row) => {
    const said = fields(row['can_terminate']);
    return {
      id: text(row['id']),
      name: text(row['name']),
      state: text(row['state']),
      stopAt: number(row['stop_at']),
      needsUntil: number(row['needs_until']),
      canTerminate: isFields(row['can_terminate']) ? { now: said['now'] === true, at: number(said['at']) } : null,
      progress: number(row['progress']),
    };
  });
}
