/**
 * What a web hook's receiver gets: the Snapshot as `lifetime.json` has it, with one more field in front that tells the event,
 * so that one `jq` reads both (`.event.name`, `.phase`) and a stored body says by itself what it is:
 *
 *     {"event":{"name":"notice","id":"9f2c51d07ab3e846/2-notice","repeated":false,"host":"vm-17",
 *               "notice":{"id":"ec2/spot","kind":"terminate","deadline":1766440000}},
 *      "phase":"running","deadline":1766440000, …}
 *
 * Of the event `can_terminate` there is `"can_terminate":true|false` besides: what the answer to the site is now.
 *
 * The headers `mjf-event` and `mjf-event-id` say the same to those who route by headers; `idempotency-key` is the id again,
 * under the name that gateways know. The same id is the same event: sent twice where an answer was lost, and with
 * `"repeated":true` after a crash of the agent, with the Snapshot of then.
 */
import { createHash } from 'node:crypto';
import os from 'node:os';
import type { HookEvent, HookRun } from '../lifetime/types.ts';
import type { MachineIdentity } from '../machine-identity.ts';
import type { Publication } from '../ports.ts';

export interface WebhookMessage {
  /** The heart's name for it (HookRun.id). */
  readonly run: string;
  readonly event: HookEvent;
  /** Unlike any other machine's or boot's, printable ASCII. */
  readonly id: string;
  readonly body: Buffer;
  /** On this machine's clock: sent until then. null: no end is known. */
  readonly byMs: number | null;
}

/** Who is speaking, in each id and body. */
export interface Sender {
  readonly host: string;
  readonly prefix: string;
}

/** Far longer than the heart's names; ids stand in headers. */
const MOST_ID_LENGTH = 200;

/**
 * A run's id is unique within a boot only, and a receiver drops doubles over all of its machines. Containers of one host share
 * machine and boot, so the host's name counts too. Hashed: a machine's id is nobody else's business.
 */
export function senderOf({ machineId, bootId }: Pick<MachineIdentity, 'machineId' | 'bootId'>): Sender {
  const host = os.hostname();
  const prefix = createHash('sha256')
    .update(JSON.stringify([machineId, bootId, host]))
    .digest('hex')
    .slice(0, 16);
  return { host, prefix };
}

/** The message of a machine event; null for a step of a payload, which is nobody's business outside (S5.5). */
export function messageOf(run: HookRun, publication: Publication, sender: Sender): WebhookMessage | null {
  if (run.event === 'step') return null;
  const id = `${sender.prefix}/${run.id}`.replace(/[^\x21-\x7e]/g, '_').slice(0, MOST_ID_LENGTH);
  const event = {
    name: run.event,
    id,
    repeated: run.repeated,
    host: sender.host,
    notice: run.notice === undefined ? null : noticeOf(run.notice),
    ...(run.canTerminate !== undefined && { can_terminate: run.canTerminate }),
  };
  // Spliced, not serialised again: what the receiver reads is what the file says, byte for byte.
  const front = Buffer.from(`{"event":${JSON.stringify(event)},`);
  const body = Buffer.concat([front, publication.lifetimeJson.subarray(1)]);
  return { run: run.id, event: run.event, id, body, byMs: run.byMs };
}

/** Whole seconds, rounded down like everything published (lifetime/document.ts). */
const noticeOf = ({ id, kind, deadlineMs }: NonNullable<HookRun['notice']>) => ({
  id,
  kind,
  deadline: deadlineMs === null ? null : Math.floor(deadlineMs / 1000),
});
