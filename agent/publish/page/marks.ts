/** What stands on the timeline: the agent's documents as instants with a label. Pure. */
import type { History, Lifetime, Payload } from './documents.ts';
import { counted, shown } from './texts.ts';

export type MarkKind = 'now' | 'drain' | 'stop' | 'deadline' | 'step' | 'past';
export interface Mark {
  readonly at: number;
  readonly kind: MarkKind;
  readonly label: string;
  /** Of a step: `planned`, `done`, `refused`, `skipped`, `pending`. */
  readonly state?: string;
  /** The whole text, where the label is shortened. */
  readonly detail?: string;
}
export interface Chosen {
  readonly marks: readonly Mark[];
  /** Past events that found no room. */
  readonly earlier: number;
}

/** As many as a picture can bear. */
export const MOST_STEPS = 8;
export const MOST_PAST = 5;
/** Of these for the machine's fate, where there are as many: sources and payloads that come and go do not push it out. */
const FOR_FATE = 3;
const FATE: ReadonlySet<string> = new Set(['agent', 'phase', 'deadline', 'notice']);
const LONGEST_LABEL = 26;

export interface Told {
  readonly lifetime: Lifetime;
  /** The deadline on this machine's clock. */
  readonly deadline: number | null;
  readonly payloads: readonly Payload[];
  readonly history: History | null;
}

/** In the order of their times. */
export function marksOf(told: Told, nowMs: number): Chosen {
  const { lifetime, deadline } = told;
  const now = nowMs / 1000;
  const machine: Mark[] = [{ at: now, kind: 'now', label: 'now' }];
  const add = (at: number | null, kind: MarkKind, label: string): void => {
    if (at !== null) machine.push({ at, kind, label });
  };
  add(lifetime.drain_at, 'drain', 'draining begins');
  add(lifetime.stop_at, 'stop', 'stopping begins');
  add(deadline, 'deadline', 'deadline');
  const planned = machine.map(({ at }) => at);
  const past = pastEvents(told.history, now, planned);
  const fate = past.filter(({ kind }) => FATE.has(kind)).slice(-FOR_FATE);
  const others = past.filter((event) => !fate.includes(event)).slice(fate.length - MOST_PAST);
  const kept = past.filter((event) => fate.includes(event) || others.includes(event));
  const marks = [...machine, ...stepMarks(told.payloads), ...kept.map(pastMark)];
  return { marks: marks.sort(byTime), earlier: past.length - kept.length };
}

const ORDER: readonly MarkKind[] = ['past', 'drain', 'stop', 'step', 'deadline', 'now'];
const byTime = (one: Mark, other: Mark): number =>
  one.at - other.at || ORDER.indexOf(one.kind) - ORDER.indexOf(other.kind);

/** A change of phase at its planned time has its mark already, and so have steps. */
const SAME_SECS = 2;

type Event = History['events'][number];

function pastEvents(history: History | null, now: number, planned: readonly number[]): readonly Event[] {
  return (history?.events ?? [])
    .filter(({ at, kind }) => at <= now && kind !== 'step')
    .filter(({ at, kind }) => kind !== 'phase' || !planned.some((one) => Math.abs(one - at) < SAME_SECS));
}

function pastMark({ at, text }: Event): Mark {
  const whole = shown(text);
  // The room is short, and a notice is known by its name.
  const label = shorter(whole.replace(/^notice /, ''));
  return { at, kind: 'past', label, ...(label !== whole && { detail: whole }) };
}

const shorter = (text: string): string =>
  text.length <= LONGEST_LABEL ? text : `${text.slice(0, LONGEST_LABEL - 1).trimEnd()}…`;

interface Group {
  readonly at: number;
  readonly until: number;
  readonly actions: ReadonlySet<string>;
  readonly states: ReadonlySet<string>;
  readonly count: number;
  readonly name: string;
}

/** Steps of the same second and kind are one; then those that are nearest to each other, until they fit. */
function stepMarks(payloads: readonly Payload[]): readonly Mark[] {
  const groups = new Map<string, Group>();
  for (const { name, steps } of payloads) {
    for (const { signal, hook, due, state } of steps) {
      if (due === null) continue;
      const action = signal ?? `hook ${hook ?? ''}`;
      const key = `${Math.round(due)} ${action} ${state}`;
      const group = { at: due, until: due, actions: new Set([action]), states: new Set([state]), count: 1, name };
      const known = groups.get(key);
      groups.set(key, known === undefined ? group : joined(known, group));
    }
  }
  const list = [...groups.values()].sort((one, other) => one.at - other.at);
  while (list.length > MOST_STEPS) {
    let nearest = 1;
    const gap = (index: number): number => (list[index]?.at ?? 0) - (list[index - 1]?.until ?? 0);
    for (let index = 2; index < list.length; index++) if (gap(index) < gap(nearest)) nearest = index;
    const [one, other] = [list[nearest - 1], list[nearest]];
    if (one === undefined || other === undefined) break;
    list.splice(nearest - 1, 2, joined(one, other));
  }
  return list.map(stepMark);
}

const joined = (one: Group, other: Group): Group => ({
  at: one.at,
  until: Math.max(one.until, other.until),
  actions: new Set([...one.actions, ...other.actions]),
  states: new Set([...one.states, ...other.states]),
  count: one.count + other.count,
  name: one.name,
});

function stepMark({ at, actions, states, count, name }: Group): Mark {
  const [action = ''] = actions;
  const what = shown(action, LONGEST_LABEL);
  const text =
    count === 1
      ? `${what} · ${shown(name)}`
      : actions.size === 1
        ? `${count.toLocaleString('en')} × ${what}`
        : counted(count, 'step');
  const state = states.size === 1 ? [...states][0] : 'mixed';
  return {
    at,
    kind: 'step',
    label: shorter(text),
    ...(state !== undefined && { state }),
    ...(text.length > LONGEST_LABEL && { detail: text }),
  };
}
