/** What all endpoints of EC2's metadata service have in common. */
import type { MetadataAnswer } from './metadata.ts';
import type { PartReport } from './parts.ts';
import { type ReadContext, SourceError } from './source.ts';

/** One path below `/latest/meta-data/`. Throws as `Metadata.ask` does. */
export type Ask = (path: string, context: Pick<ReadContext, 'signal'>) => Promise<MetadataAnswer>;

/** Tells each odd thing once: `what` is the thing, the host's own words included. */
export type TellOnce = (event: string, what: string, message: string) => void;

/** No single value of this service is longer. */
const LONGEST_VALUE = 256;

/**
 * A value of one line, trimmed.
 * @throws SourceError `bad_answer` for what is none: a web page in front of the service, a document.
 */
export function oneLine(text: string, what: string): string {
  const line = text.trim();
  if (line.length > LONGEST_VALUE || /[\r\n<>]/.test(line))
    throw new SourceError('bad_answer', `${what} is not a single value`);
  return line;
}

/** What the host wrote, fit for a log line and a reason. */
export const excerpt = (text: string): string => text.replace(/[^\x21-\x7e]/g, '?').slice(0, 40);

/** The report with the host's clock, where the answer shows it (S4.3). */
export const dated = ({ hostNowMs }: MetadataAnswer, report: PartReport): PartReport =>
  hostNowMs === undefined ? report : { ...report, hostNowMs };
