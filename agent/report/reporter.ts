/**
 * What a reporter is: one way from the machine to its site (issue "The machine's answer"). To add one: (1) write
 * `report/NAME.ts` that gives a `Reporter`; (2) add one line to the list in `report/reports.ts`; (3) add its keys to
 * `config/schema-report.ts`. Nothing else knows about reporters.
 *
 * A reporter is told of the truth and says it to the site when it can. It never throws and never keeps anybody waiting: what
 * cannot be delivered now stands in its outbox (outbox.ts), bounded, and is tried again.
 */
import type { Logger } from 'pino';
import type { FinalWord, Snapshot } from '../lifetime/types.ts';
import type { Publication } from '../ports.ts';

/** What there is to say at one moment. */
export interface SiteNews {
  readonly publication: Publication;
  /** The message with which the machine goes, once it is due (S5.3). */
  readonly lastWord: FinalWord | null;
  /** Ids of notices (`azure/EVENT`) whose platform may be told to begin (S5.4). */
  readonly released: readonly string[];
}

export interface Reporter {
  /** The word of configuration, log and metrics: `joboutputs`, `onegate`, `azure`, `gce`, `vmware`, `directory`. */
  readonly name: string;
  /** After each step of the heart: cheap where there is nothing new for it. */
  update(news: SiteNews): void;
  /** The last word is due and has not reached the site yet: the machine should not go without it. */
  owesLastWord(): boolean;
  /** What has not been delivered, for metrics. */
  pending(): number;
  /** Ends within CLOSE_BOUND_MS, after what waits went out or could not. */
  close(): Promise<void>;
}

export interface ReporterEnvironment {
  readonly log: Logger;
  /**
   * `mjf_reports_total{reporter,outcome}`: delivered, failed (tried again), refused (dropped for good); and by how many seconds
   * the delivered ones were late, `mjf_report_delay_seconds_total{reporter}`.
   */
  readonly count: (metric: string, labels: Readonly<Record<string, string>>, by?: number) => void;
  /** The way back to the host of a source that is in use; see ports.ts. */
  readonly back: SpeakBack;
}

/** What is still waiting when the agent is told to stop gets this long; agent.ts waits 2 s for all reports. */
export const CLOSE_BOUND_MS = 1_500;

/**
 * Why something could not be delivered. `final`: the other side has understood and refuses; it will not be otherwise next
 * time. `code` is stable and short (`http_403`, `timeout`, `enospc`), `no_channel` where there is no such way.
 */
export interface DeliveryFailure {
  readonly code: string;
  readonly final: boolean;
}

/** To the host over the very channel that a source reads from (sources/source.ts, WayBack). Bounded in time; never rejects. */
export interface SpeakBack {
  /** Names `[a-z0-9_]+` and one-line values; null takes one away. */
  tell(
    source: string,
    values: Readonly<Record<string, string | null>>,
    signal: AbortSignal,
  ): Promise<DeliveryFailure | null>;
  /** The platform may begin with what it announced as `event` (the notice's id without the source's name). */
  acknowledge(source: string, event: string, signal: AbortSignal): Promise<DeliveryFailure | null>;
}

/** A source that gives good answers, or did: a platform that is away for a moment is still the one we are on. */
export const isActive = ({ sources }: Snapshot, source: string): boolean =>
  sources.some(({ name, state }) => name === source && state !== 'absent');
