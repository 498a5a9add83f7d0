/** The way back to the host as reporters know it, over whichever source of that name is in use at the moment. */
import type { DeliveryFailure, SpeakBack } from './report/reporter.ts';

export type { SpeakBack } from './report/reporter.ts';

/** What the driver of a source gives: null when the host has taken it, else a code. Bounded; never rejects. */
export interface Speaker {
  tell(values: Readonly<Record<string, string | null>>, signal: AbortSignal): Promise<string | null>;
  acknowledge(event: string, signal: AbortSignal): Promise<string | null>;
}

/** Of the answers by which a server refuses, those that a new token, a setting of the site or a little time can change. */
const MAY_PASS: ReadonlySet<string> = new Set(
  [401, 403, 404, 408, 409, 423, 425, 429].map((status) => `http_${status}`),
);
/** `gone`: there is nothing left to say it to. The others are faults of what was to be said. */
const FINAL: ReadonlySet<string> = new Set(['gone', 'bad_name', 'bad_value']);

/** `speakerOf` is asked each time: a new configuration makes sources anew. */
export function speakBack(speakerOf: (source: string) => Speaker | undefined): SpeakBack {
  const over = async (source: string, say: (speaker: Speaker) => Promise<string | null>) => {
    const speaker = speakerOf(source);
    return failureOf(speaker === undefined ? 'no_channel' : await say(speaker));
  };
  return {
    tell: (source, values, signal) => over(source, (speaker) => speaker.tell(values, signal)),
    acknowledge: (source, event, signal) => over(source, (speaker) => speaker.acknowledge(event, signal)),
  };
}

const failureOf = (code: string | null): DeliveryFailure | null =>
  code === null ? null : { code, final: FINAL.has(code) || (/^http_4\d\d$/.test(code) && !MAY_PASS.has(code)) };
