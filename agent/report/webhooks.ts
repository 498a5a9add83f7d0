/**
 * Web hooks: each event of the machine is POSTed to those who asked for it (`[[webhook]]`), from the moment it happens, beside
 * programs and signals and never in their way. Nothing is kept on disk: a run of which nobody said that it is over is told
 * again by the heart after a crash, and goes out again under the same id.
 */
import type { Logger } from 'pino';
import type { WebhookConfig } from '../config/types.ts';
import type { HookRun, Instant } from '../lifetime/types.ts';
import type { MachineIdentity } from '../machine-identity.ts';
import { isOwnEndpoint, type OwnAddress } from '../own-endpoint.ts';
import type { Publication } from '../ports.ts';
import { type Lane, openLane } from './webhook-lane.ts';
import { messageOf, senderOf } from './webhook-message.ts';

/** What is still queued when the agent is told to stop gets this long; agent.ts waits 2 s for all reports. */
const CLOSE_BOUND_MS = 1_500;

export interface WebhooksOptions {
  readonly webhooks: readonly WebhookConfig[];
  readonly log: Logger;
  /** `mjf_webhooks_total{event,outcome}`: delivered, refused, expired, dropped; `retried` once for each failure between. */
  readonly count: (metric: string, labels: Readonly<Record<string, string>>) => void;
  readonly now: () => Instant;
  readonly ownAddresses: readonly OwnAddress[];
  readonly identity: Pick<MachineIdentity, 'machineId' | 'bootId'>;
  /**
   * No web hook has anything more to do for this run (HookRun.id). Once for each run that was sent, never from within `send`;
   * not for what was left over by `stop`, so that the next start of the agent tells it again.
   */
  readonly onSettled: (run: string) => void;
}

export interface Webhooks {
  /** An event of the machine; a `step` is settled without a word to anybody. */
  send(run: HookRun, publication: Publication): void;
  /** What waits for a URL that is still there goes out as that is configured now; the rest is dropped. */
  reconfigure(webhooks: readonly WebhookConfig[]): void;
  /** Ends within 1.5 s. */
  stop(): Promise<void>;
}

/** All tables with one URL are one receiver: its events keep their order. */
interface Receiver {
  readonly lane: Lane;
  tables: readonly WebhookConfig[];
  /** Of the first table, from 1. */
  ordinal: number;
}

export function openWebhooks(options: WebhooksOptions): Webhooks {
  const { log, count, now, ownAddresses, onSettled } = options;
  const sender = senderOf(options.identity);
  const receivers = new Map<string, Receiver>();
  /** How many receivers have not settled a run yet. */
  const open = new Map<string, number>();
  let stopped = false;

  function done(run: string): void {
    const left = (open.get(run) ?? 1) - 1;
    open.set(run, left);
    if (left > 0) return;
    open.delete(run);
    queueMicrotask(() => onSettled(run));
  }

  function openReceiver(url: string): Receiver {
    const lane = openLane({
      shown: () => ({ webhook: receiver.ordinal, to: new URL(url).origin }),
      webhookFor: (event) => receiver.tables.find(({ events }) => events.includes(event)),
      log,
      count,
      now,
      settled: ({ run }) => done(run),
    });
    const receiver: Receiver = { lane, tables: [], ordinal: 0 };
    return receiver;
  }

  function reconfigure(webhooks: readonly WebhookConfig[]): void {
    const byUrl = new Map<string, { readonly ordinal: number; readonly tables: WebhookConfig[] }>();
    for (const [index, table] of webhooks.entries()) {
      const why = unusable(table.url);
      if (why !== null) {
        log.warn({ event: 'webhook_unusable', webhook: index + 1 }, `web hook ${index + 1} is not used: ${why}`);
        continue;
      }
      const url = new URL(table.url).href;
      const group = byUrl.get(url) ?? { ordinal: index + 1, tables: [] };
      group.tables.push(table);
      byUrl.set(url, group);
    }
    for (const [url, receiver] of receivers) {
      if (byUrl.has(url)) continue;
      receivers.delete(url);
      receiver.lane.discard();
    }
    for (const [url, group] of byUrl) {
      const receiver = receivers.get(url) ?? openReceiver(url);
      receivers.set(url, receiver);
      Object.assign(receiver, group);
    }
  }

  function unusable(url: string): string | null {
    if (!/^https?:/i.test(url) || !URL.canParse(url)) return 'not an http or https URL';
    return isOwnEndpoint(url, ownAddresses) ? 'it leads to this agent itself' : null;
  }

  reconfigure(options.webhooks);

  return {
    send(run, publication) {
      if (stopped || open.has(run.id)) return;
      const message = messageOf(run, publication, sender);
      const wanted = [...receivers.values()].filter(
        ({ tables }) => message !== null && tables.some(({ events }) => events.includes(message.event)),
      );
      // One more than receivers: nobody may settle it while it is still being handed out.
      open.set(run.id, wanted.length + 1);
      if (message !== null) for (const { lane } of wanted) lane.add(message);
      done(run.id);
    },
    reconfigure,
    async stop() {
      stopped = true;
      const lanes = [...receivers.values()].map(({ lane }) => lane.close(CLOSE_BOUND_MS));
      const left = new Set((await Promise.all(lanes)).flat().map(({ id }) => id));
      if (left.size === 0) return;
      log.warn({ event: 'webhook_left', ids: [...left] }, `${left.size} events did not reach every web hook`);
    },
  };
}
