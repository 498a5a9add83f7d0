/** What `exec` says it has done itself (SEMANTICS S3.8). */
import { beginning } from './issue.ts';
import type { MachinePlan } from './phase.ts';
import { type Episode, isSignalled, type PayloadRecord, runningEpisode } from './state.ts';
import { anchorIndex, OWN_DEADLINE, orderedSteps, payloadDeadline } from './steps.ts';
import { hookOf, type Policy, type StepRef, type StepResultReport } from './types.ts';

/**
 * Entered into the payload's episode, so that a daemon that takes over does not do it again. A late word finds the episode
 * that it belongs to although that has ended; apart from that its numbering is its own, and the daemon's counts here.
 */
export function acknowledge(
  record: PayloadRecord,
  policy: Policy,
  plan: MachinePlan,
  report: StepResultReport,
): PayloadRecord {
  const { spec } = record;
  const meant = meantEpisode(record, report);
  const episode: Episode = meant ?? {
    number: (record.episode?.number ?? 0) + 1,
    noticeIds: [payloadDeadline(spec, plan)?.noticeId ?? OWN_DEADLINE],
    steps: orderedSteps(spec, policy),
    marks: [],
    anchor: null,
    ended: null,
  };
  const index = stepIndex(episode, report.step);
  const step = { ...report.step, index, episode: episode.number };
  const marks = [
    ...episode.marks.filter((mark) => mark.step.index !== index),
    { step, state: 'done' as const, at: report.at },
  ];
  const anchored = index === anchorIndex(episode.steps);
  return {
    ...(meant === null ? beginning(record) : record),
    episode: { ...episode, marks, anchor: anchored ? report.at : episode.anchor },
  };
}

/**
 * null: it begins one. An episode that has ended is meant where the step was taken before that, or where `exec` had its part
 * in it and names it. The number alone proves nothing: of one in which only hooks were run `exec` has never heard.
 */
function meantEpisode(record: PayloadRecord, { step, at }: StepResultReport): Episode | null {
  const { episode } = record;
  if (episode === null || episode.ended === null) return runningEpisode(record);
  const isNamed = episode.number === step.episode && isSignalled(episode);
  return isNamed || at.wall < episode.ended.atMs ? episode : null;
}

/**
 * The step of this episode that is meant. `exec` counts signals alone, since it never hears of hooks; and it may have begun
 * with another list, and then the signal tells.
 */
function stepIndex({ steps, marks }: Episode, { index, signal }: StepRef): number {
  const signals = steps.flatMap((step, at) => (hookOf(step.signal) === null ? [at] : []));
  const named = signals[index];
  if (named !== undefined && steps[named]?.signal === signal) return named;
  const open = steps.findIndex((step, at) => step.signal === signal && !marks.some((mark) => mark.step.index === at));
  // Not in this list at all: kept beyond its end, so that it hides none of the steps that are.
  return open >= 0 ? open : steps.length + index;
}
