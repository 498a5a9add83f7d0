/** What EC2 announces besides spot interruptions (facts "platforms", AWS EC2 and "Kinds"): each endpoint a part. */
import type { NoticeKind, Reading, StatedNotice } from '../lifetime/types.ts';
import { type Ask, dated, excerpt, oneLine, type TellOnce } from './ec2-ask.ts';
import { SPOT_ID } from './ec2-spot.ts';
import { bounded, byId } from './event-list.ts';
import { asList, asRecord, asText, parseJson } from './json.ts';
import type { Part } from './parts.ts';
import { SourceError } from './source.ts';
import { parseInstant } from './times.ts';

const REBALANCE_ID = 'rebalance';
const AUTOSCALING_ID = 'autoscaling';
/** Scheduled events carry the platform's own ids, which must not be mistaken for these. */
const OWN_IDS: readonly string[] = [SPOT_ID, REBALANCE_ID, AUTOSCALING_ID];

const REBALANCE_PATH = 'events/recommendations/rebalance';
const SCHEDULED_PATH = 'events/maintenance/scheduled';
const AUTOSCALING_PATH = 'autoscaling/target-lifecycle-state';

const CODES: ReadonlyMap<string, NoticeKind> = new Map([
  ['instance-stop', 'stop'],
  ['instance-retirement', 'terminate'],
  ['instance-reboot', 'reboot'],
  ['system-reboot', 'reboot'],
  ['system-maintenance', 'freeze'],
]);
const EVENT_ID = /^[A-Za-z0-9][\w.:-]{0,127}$/;
/** An event that is over stays listed for a while; both say so. */
const OVER = { Description: /^\[(?:cancell?ed|completed)\]/i, State: /^(?:cancell?ed|completed)$/i } as const;

/** Where the instance is headed for in its group, and what becomes of the work on it. */
const TARGETS: ReadonlyMap<string, NoticeKind | 'none'> = new Map([
  ['terminated', 'drain'],
  ['warmed:terminated', 'drain'],
  // On its way into the warm pool, where it is switched off once it has initialised.
  ['warmed:stopped', 'drain'],
  // As with spot: what is hibernated wakes up as it was.
  ['warmed:hibernated', 'hibernate'],
  ['warmed:running', 'none'],
  ['inservice', 'none'],
  // Out of the group's service or out of the group, but nobody switches it off.
  ['standby', 'none'],
  ['detached', 'none'],
]);

export interface EventOptions {
  readonly ask: Ask;
  readonly tellOnce: TellOnce;
  readonly everyMs: number;
}

export const eventParts = (options: EventOptions): readonly Part[] => [
  rebalancePart(options),
  scheduledPart(options),
  autoscalingPart(options),
];

/** "At elevated risk of interruption": an advice without a time. */
const rebalancePart = ({ ask, everyMs }: EventOptions): Part => ({
  name: REBALANCE_PATH,
  everyMs,
  speaksFor: [REBALANCE_ID],
  async read(context) {
    const answer = await ask(REBALANCE_PATH, context);
    if (answer.is === 'absent') return dated(answer, { notices: { [REBALANCE_ID]: { is: 'absent' } } });
    const document = asRecord(parseJson(answer.text, REBALANCE_PATH));
    if (parseInstant(asText(document?.['noticeTime']) ?? '') === undefined)
      throw new SourceError('bad_answer', `${REBALANCE_PATH} gives no notice time`);
    const value: StatedNotice = { kind: 'rebalance', deadlineMs: null, reason: 'rebalance recommendation' };
    return dated(answer, { notices: { [REBALANCE_ID]: { is: 'present', value } } });
  },
});

function scheduledPart({ ask, everyMs, tellOnce }: EventOptions): Part {
  /** Ids in the last list that were ever understood. */
  let known: ReadonlySet<string> = new Set();

  return {
    name: SCHEDULED_PATH,
    everyMs,
    async read(context) {
      const answer = await ask(SCHEDULED_PATH, context);
      if (answer.is === 'absent') return dated(answer, { others: 'absent', whole: ['notices'] });
      const list = asList(parseJson(answer.text, SCHEDULED_PATH));
      if (list === undefined) throw new SourceError('bad_answer', `${SCHEDULED_PATH} is not a list`);
      const events = list.map((each) => scheduled(each, tellOnce));
      const listed = events.filter((event) => event !== undefined);
      const isDamaged = listed.length < events.length;
      if (isDamaged && listed.length === 0)
        throw new SourceError('bad_answer', `${SCHEDULED_PATH} lists nothing that is an event`);
      const understood = new Set(listed.flatMap(({ id, isUnderstood }) => (isUnderstood ? [id] : [])));
      const ours = listed.filter(({ id }) => understood.has(id) || known.has(id));
      known = new Set(ours.map(({ id }) => id));
      const { readings, complete } = bounded(byId(ours.map(({ id, reading }) => [id, reading])));
      const notices = Object.fromEntries(readings);
      // The list is all there is: an event that is not in it is over.
      return dated(
        answer,
        complete && !isDamaged ? { notices, others: 'negative', whole: ['notices'] } : { notices, isCut: true },
      );
    },
  };
}

interface ListedEvent {
  readonly id: string;
  /** False: it is none of this program's affairs, unless it was understood before. */
  readonly isUnderstood: boolean;
  readonly reading: Reading<StatedNotice>;
}

/** Undefined for what is no event at all: the others count, but such a list clears nothing. */
function scheduled(given: unknown, tellOnce: TellOnce): ListedEvent | undefined {
  const event = asRecord(given);
  const code = asText(event?.['Code'])?.trim().toLowerCase() ?? '';
  if (event === undefined || code === '') {
    tellOnce('ec2_bad_event', 'entry', `ec2: ${SCHEDULED_PATH} lists what is no event; all others count`);
    return undefined;
  }
  const kind = CODES.get(code);
  if (kind === undefined) {
    const shown = excerpt(code);
    tellOnce('ec2_unknown_event', shown, `ec2: scheduled event with unknown code ${shown}, ignored`);
  }
  const ownId = asText(event['EventId'])?.trim() ?? '';
  // S1.4: without a usable id of its own it goes by its kind.
  const id = EVENT_ID.test(ownId) && !OWN_IDS.includes(ownId) ? ownId : code;
  const isOver = (field: keyof typeof OVER): boolean => OVER[field].test(asText(event[field])?.trim() ?? '');
  const is = (reading: Reading<StatedNotice>): ListedEvent => ({ id, isUnderstood: kind !== undefined, reading });
  if (isOver('Description') || isOver('State')) return is({ is: 'negative' });
  if (kind === undefined) return is({ is: 'unknown', error: 'unknown_code' });
  const deadlineMs = parseInstant(asText(event['NotBefore']) ?? '');
  if (deadlineMs === undefined) return is({ is: 'unknown', error: 'bad_time' });
  return is({ is: 'present', value: { kind, deadlineMs, reason: `scheduled ${code}` } });
}

const autoscalingPart = ({ ask, everyMs, tellOnce }: EventOptions): Part => ({
  name: AUTOSCALING_PATH,
  everyMs,
  speaksFor: [AUTOSCALING_ID],
  async read(context) {
    const answer = await ask(AUTOSCALING_PATH, context);
    if (answer.is === 'absent') return dated(answer, { notices: { [AUTOSCALING_ID]: { is: 'absent' } } });
    const target = oneLine(answer.text, AUTOSCALING_PATH);
    const kind = TARGETS.get(target.toLowerCase());
    if (kind === undefined) {
      const shown = excerpt(target);
      tellOnce('ec2_unknown_target', shown, `ec2: unknown target lifecycle state ${shown}, ignored`);
      throw new SourceError('unknown_state', `${AUTOSCALING_PATH} is ${shown}`);
    }
    const value: StatedNotice | undefined =
      kind === 'none' ? undefined : { kind, deadlineMs: null, reason: `autoscaling target ${target}` };
    const reading: Reading<StatedNotice> = value === undefined ? { is: 'negative' } : { is: 'present', value };
    return dated(answer, { notices: { [AUTOSCALING_ID]: reading } });
  },
});
