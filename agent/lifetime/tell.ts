/** News in words, for the log and its counters. */
import { log } from './log.ts';
import type { Effect, MachineAnswer, Snapshot } from './types.ts';

/**
 * What changed between two Snapshots, in words: one line each for phase, deadline and every notice that came, changed or
 * went; and whether the machine can be terminated. Kept outside `step` so that a replay after a crash does not tell old news.
 */
export function tellChanges(before: Snapshot | null, after: Snapshot): Effect[] {
  const effects: Effect[] = [];
  if (before?.phase !== after.phase && !(before === null && after.phase === 'running')) {
    effects.push(
      log(
        after.phase === 'running' ? 'info' : 'warn',
        'phase_changed',
        { from: before?.phase ?? null, to: after.phase, deadline: at(after.deadlineMs), reason: after.reason },
        `phase ${after.phase}${after.reason ? ` (${after.reason})` : ''}`,
      ),
    );
  }
  if ((before?.deadlineMs ?? null) !== after.deadlineMs) {
    const text =
      after.deadlineMs === null
        ? 'no deadline any more'
        : `deadline ${new Date(after.deadlineMs).toISOString()} (${after.reason})`;
    effects.push(
      log(
        'info',
        'deadline_changed',
        { from: at(before?.deadlineMs ?? null), to: at(after.deadlineMs), reason: after.reason },
        text,
      ),
    );
  }
  const known = new Map(before?.notices.map((notice) => [notice.id, notice]));
  for (const notice of after.notices) {
    const old = known.get(notice.id);
    known.delete(notice.id);
    const fields = {
      notice: notice.id,
      kind: notice.kind,
      deadline: at(notice.deadlineMs),
      reason: notice.reason,
      // Else one looks in vain for what came of it.
      ...(notice.expired && { expired: true }),
      ...(notice.ignored && { ignored: true }),
    };
    const but = notice.expired
      ? ', but for a time before this boot: not acted on'
      : notice.ignored
        ? ', but ignored'
        : '';
    // At the start they come from the memory of a former run, and were announced then.
    if (old === undefined && before === null)
      effects.push(log('info', 'notice_restored', fields, `${notice.id}: ${notice.kind} still stands${but}`));
    else if (old === undefined)
      effects.push(log('info', 'notice_new', fields, `${notice.id}: ${notice.kind} announced${but}`));
    else if (old.deadlineMs !== notice.deadlineMs || old.kind !== notice.kind)
      effects.push(log('info', 'notice_changed', fields, `${notice.id}: ${notice.kind} changed${but}`));
    if (notice.brokenPromise && !old?.brokenPromise)
      effects.push(log('warn', 'promise_broken', fields, `${notice.id} came with less notice than the host promises`));
  }
  for (const notice of known.values())
    effects.push(log('info', 'notice_cleared', { notice: notice.id, kind: notice.kind }, `${notice.id}: cleared`));
  return [...effects, ...tellAnswer(before?.canTerminate ?? null, after.canTerminate), ...tellClocks(before, after)];
}

/** S5.1; without how far the payloads are, which changes all the time. */
function tellAnswer(before: MachineAnswer | null, after: MachineAnswer | null): Effect[] {
  const from = fromSecs(after);
  if (before?.now === after?.now && fromSecs(before) === from) return [];
  const fields = { now: after?.now ?? null, at: from };
  return [log('info', 'can_terminate_changed', fields, answerText(after?.now ?? null, from))];
}

function answerText(now: boolean | null, from: number | null): string {
  if (now === null) return 'no payload is left that could say whether the machine can be terminated';
  if (now) return 'the machine can be terminated now';
  const when = from === null ? 'nobody says from when on' : `from ${new Date(from * 1000).toISOString()} on it can`;
  return `the machine must not be terminated now, ${when}`;
}

/** Rounded up as in the document (document.ts). */
const fromSecs = (answer: MachineAnswer | null): number | null =>
  answer === null || answer.atMs === null ? null : Math.ceil(answer.atMs / 1000);

/** S4.3: a host's clock that is planned with. */
function tellClocks(before: Snapshot | null, after: Snapshot): Effect[] {
  return after.sources.flatMap(({ name, clockOffsetSecs }) => {
    const was = before?.sources.find((source) => source.name === name)?.clockOffsetSecs ?? null;
    if (was === clockOffsetSecs) return [];
    const fields = { source: name, clock_offset_secs: clockOffsetSecs };
    return [
      clockOffsetSecs === null
        ? log('info', 'host_clock_agrees', fields, `${name}: the host's clock agrees with ours again`)
        : log(
            'warn',
            'host_clock_differs',
            fields,
            `${name}: the host's clock is ${Math.abs(clockOffsetSecs)} s ${clockOffsetSecs > 0 ? 'ahead of' : 'behind'} ours, its times are planned on it`,
          ),
    ];
  });
}

const at = (ms: number | null): number | null => (ms === null ? null : Math.floor(ms / 1000));
