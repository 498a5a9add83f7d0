/** What changed between two documents, as one line. Pure. */
import type { FeatureRow, LifetimeDocument } from './lifetime-document.ts';
import { instantAndDistance, instantText } from './times.ts';

/** The state at the start; afterwards only what is new; undefined when nothing that a person would call a change is. */
export function changeLine(
  before: LifetimeDocument | undefined,
  now: LifetimeDocument,
  nowMs: number,
): string | undefined {
  const changes = before === undefined ? startOf(now, nowMs) : differences(before, now, nowMs);
  return changes.length === 0 ? undefined : `${instantText(Math.floor(nowMs / 1000))} ${changes.join('; ')}`;
}

function startOf(now: LifetimeDocument, nowMs: number): readonly string[] {
  return [
    `phase ${now.phase}`,
    deadlineText(now, nowMs),
    ...now.notices.map(({ id, kind }) => `notice ${id} (${kind})`),
  ];
}

function differences(before: LifetimeDocument, now: LifetimeDocument, nowMs: number): readonly string[] {
  return [
    ...(before.phase === now.phase ? [] : [`phase ${now.phase} (was ${before.phase})`]),
    ...(before.deadline === now.deadline && before.reason === now.reason ? [] : [deadlineText(now, nowMs)]),
    ...(before.overdue === now.overdue || !now.overdue ? [] : ['overdue']),
    ...noticeChanges(before, now),
    ...(canTerminateText(before) === canTerminateText(now) ? [] : [`can_terminate ${canTerminateText(now)}`]),
    ...featureChanges('machinefeatures', before.machinefeatures, now.machinefeatures),
    ...featureChanges('jobfeatures', before.jobfeatures, now.jobfeatures),
    ...sourceChanges(before, now),
    ...payloadChanges(before, now),
  ];
}

function deadlineText({ deadline, reason }: LifetimeDocument, nowMs: number): string {
  if (deadline === null) return 'no deadline';
  return `deadline ${instantAndDistance(deadline, nowMs)}${reason === null ? '' : ` (${reason})`}`;
}

function noticeChanges(before: LifetimeDocument, now: LifetimeDocument): readonly string[] {
  const gone = before.notices.filter(({ id }) => !now.notices.some((other) => other.id === id));
  const fresh = now.notices.filter(({ id }) => !before.notices.some((other) => other.id === id));
  const marked = now.notices.flatMap(({ id, marks }) => {
    const old = before.notices.find((other) => other.id === id);
    return old === undefined
      ? []
      : marks.filter((mark) => !old.marks.includes(mark)).map((mark) => `notice ${id} ${mark}`);
  });
  return [
    ...fresh.map(({ id, kind, reason }) => `notice ${id} (${kind}${reason === '' ? '' : `: ${reason}`})`),
    ...gone.map(({ id }) => `notice ${id} gone`),
    ...marked,
  ];
}

/** Without how far it is: that is no change that a person waits for. */
function canTerminateText({ canTerminate }: LifetimeDocument): string {
  if (canTerminate === null) return 'unknown';
  const { now, at, mustNotUntil } = canTerminate;
  if (now) return 'now';
  if (at !== null && (mustNotUntil === null || mustNotUntil < at)) return `at ${instantText(at)}`;
  return mustNotUntil === null ? 'not now' : `not before ${instantText(mustNotUntil)}`;
}

type Features = Readonly<Record<string, FeatureRow>>;

function featureChanges(side: string, before: Features, now: Features): readonly string[] {
  const keys = [...new Set([...Object.keys(before), ...Object.keys(now)])].sort();
  return keys.flatMap((key) => {
    const old = before[key]?.value;
    const value = now[key]?.value;
    if (old === value) return [];
    return [value === undefined ? `${side}/${key} gone` : `${side}/${key}=${value}`];
  });
}

function sourceChanges(before: LifetimeDocument, now: LifetimeDocument): readonly string[] {
  return now.sources.flatMap(({ name, state }) =>
    before.sources.some((old) => old.name === name && old.state === state) ? [] : [`source ${name} ${state}`],
  );
}

function payloadChanges(before: LifetimeDocument, now: LifetimeDocument): readonly string[] {
  const states = Object.keys(now.payloads);
  if (states.every((state) => before.payloads[state] === now.payloads[state])) return [];
  return [`payloads ${states.map((state) => `${now.payloads[state] ?? 0} ${state}`).join(', ')}`];
}
