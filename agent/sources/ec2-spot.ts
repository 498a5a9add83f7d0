/**
 * The interruption of a spot instance (facts "platforms", AWS EC2): `spot/instance-action` says what happens and when,
 * `spot/termination-time` is its predecessor, which knows `terminate` alone. Both together make one notice.
 */
import type { NoticeKind, Reading, StatedNotice } from '../lifetime/types.ts';
import { type Ask, dated, excerpt, oneLine, type TellOnce } from './ec2-ask.ts';
import { asRecord, asText, parseJson } from './json.ts';
import type { Part, PartReport } from './parts.ts';
import { SourceError } from './source.ts';
import { parseInstant } from './times.ts';

export const SPOT_ID = 'spot';
/** As the vendor promises it: two minutes, but for hibernation. */
export const SPOT_NOTICE_MS = 120_000;
const ACTION_PATH = 'spot/instance-action';
const TIME_PATH = 'spot/termination-time';

const KINDS: ReadonlyMap<string, NoticeKind> = new Map([
  ['terminate', 'terminate'],
  ['stop', 'stop'],
  ['hibernate', 'hibernate'],
]);

/**
 * A termination time that lies so far back belongs to an interruption that did not come: the platform leaves it standing.
 * A shorter while ago it may be a machine about to be switched off, and the agent just restarted.
 */
const LEFT_OVER_MS = 600_000;

export interface SpotOptions {
  readonly ask: Ask;
  readonly tellOnce: TellOnce;
  /** Of `spot/instance-action`; of the other while this one alone speaks for the notice. */
  readonly pollMs: number;
  readonly slowMs: number;
}

/** The two endpoints, each a part of its own, so that a dead one does not delay the other. */
export function spotParts({ ask, tellOnce, pollMs, slowMs }: SpotOptions): readonly Part[] {
  const action = createEndpoint();
  const time = createEndpoint();
  const readTime = createTimeReader();
  /** What only the time says must not be a minute old, and it is all there is while the action fails. */
  const needsTime = (): boolean =>
    action.failing || (action.said.is !== 'present' && (time.said.is === 'present' || time.said.is === 'passed'));

  return [
    {
      name: ACTION_PATH,
      everyMs: pollMs,
      speaksFor: [SPOT_ID],
      read: (context) =>
        action.hear(
          () => ask(ACTION_PATH, context),
          (text) => ({ is: 'present', value: actionOf(text, tellOnce) }),
          (said) => (said.is === 'present' ? earlier(said, time.said) : ABSENT),
        ),
    },
    {
      name: TIME_PATH,
      get everyMs() {
        return needsTime() ? pollMs : slowMs;
      },
      // It does not speak for the notice, but for what it has said of it: the action alone can announce and take back.
      read: (context) =>
        time.hear(
          () => ask(TIME_PATH, context),
          readTime,
          (said) => {
            if (said.is === 'present') return action.said.is === 'present' ? earlier(action.said, said) : said;
            if (said.is === 'passed' && !action.everPresent) return { is: 'unknown', error: 'time_passed' };
            return time.everMentioned ? ABSENT : undefined;
          },
        ),
    },
  ];
}

const ABSENT = { is: 'absent' } as const;
interface Announced {
  readonly is: 'present';
  readonly value: StatedNotice;
}
/** `passed`: a time that was never seen ahead, of this life or an earlier one. */
type Said = Announced | typeof ABSENT | { readonly is: 'nothing' | 'passed' };

/** What one of the two said last; parts.ts puts together what both say of the notice. */
function createEndpoint() {
  const endpoint = {
    said: { is: 'nothing' } as Said,
    /** Whether a question after that was not answered properly. */
    failing: false,
    everPresent: false,
    everMentioned: false,
    async hear(
      question: () => ReturnType<Ask>,
      understand: (text: string, hostNowMs: number) => Said,
      toReading: (said: Said) => Reading<StatedNotice> | undefined,
    ): Promise<PartReport> {
      try {
        const answer = await question();
        const said = answer.is === 'absent' ? ABSENT : understand(answer.text, answer.hostNowMs ?? Date.now());
        endpoint.said = said;
        endpoint.failing = false;
        endpoint.everPresent ||= said.is === 'present';
        const reading = toReading(said);
        endpoint.everMentioned ||= reading !== undefined;
        return dated(answer, reading === undefined ? {} : { notices: { [SPOT_ID]: reading } });
      } catch (error) {
        endpoint.failing = true;
        throw error;
      }
    },
  };
  return endpoint;
}

/** The action decides what it is; the earlier time counts. */
function earlier(action: Announced, time: Said): Announced {
  const both = [action, time].flatMap((said) => (said.is === 'present' ? [said.value.deadlineMs] : []));
  const times = both.filter((deadlineMs) => deadlineMs !== null);
  return times.length === 0 ? action : { ...action, value: { ...action.value, deadlineMs: Math.min(...times) } };
}

/** Of 404, and of a text that is no time: nothing is announced. */
function createTimeReader(): (text: string, nowMs: number) => Said {
  let seenAheadMs: number | undefined;
  return (text, nowMs) => {
    const line = oneLine(text, TIME_PATH);
    const deadlineMs = parseInstant(line);
    // A year and then nonsense is a damaged time and not the documented "no time".
    if (deadlineMs === undefined && /^\d{4}-/.test(line)) throw new SourceError('bad_time', `${TIME_PATH} is no time`);
    if (deadlineMs === undefined) return ABSENT;
    if (deadlineMs > nowMs) seenAheadMs = deadlineMs;
    else if (nowMs - deadlineMs > LEFT_OVER_MS) return ABSENT;
    else if (deadlineMs !== seenAheadMs) return { is: 'passed' };
    return { is: 'present', value: noticeOf('terminate', deadlineMs, 'terminate') };
  };
}

/** S1.4: a simulator that says "in two minutes" on every GET must still reach its end. */
const noticeOf = (kind: NoticeKind, deadlineMs: number | null, action: string): StatedNotice => ({
  kind,
  deadlineMs,
  reason: `spot ${action}`,
  onlyEarlier: true,
  // Hibernation begins at once, and only informs.
  ...(kind === 'hibernate' ? {} : { minimumNoticeMs: SPOT_NOTICE_MS }),
});

/**
 * What is certain but has no readable time gets what the platform guarantees (S1.3).
 *
 * @throws SourceError `bad_json`, `bad_answer` (no action).
 */
function actionOf(text: string, tellOnce: TellOnce): StatedNotice {
  const document = asRecord(parseJson(text, ACTION_PATH));
  const action = asText(document?.['action'])?.trim().toLowerCase() ?? '';
  if (action === '') throw new SourceError('bad_answer', `${ACTION_PATH} names no action`);
  const deadlineMs = parseInstant(asText(document?.['time']) ?? '') ?? null;
  const kind = KINDS.get(action);
  if (kind !== undefined) return noticeOf(kind, deadlineMs, action);
  // Whatever it means, this path exists only for machines that are about to be interrupted: the worst is planned for.
  const shown = excerpt(action);
  tellOnce('ec2_unknown_action', shown, `ec2: unknown spot action ${shown}, taken as terminate`);
  return noticeOf('terminate', deadlineMs, shown);
}
