/**
 * What a payload says of its own end (S5.1): `can_terminate`, `needs_secs`, `progress`. Each field that is given replaces what
 * was said of it before and nothing else.
 */
import type { Static } from 'typebox';
import type { CanTerminate } from '../../lifetime/types.ts';
import { MAX_SECS, unixSecs } from './schema-parts.ts';

export const answerProperties = {
  can_terminate: {
    description: 'true, or { now }: nothing is lost if it is ended now; { at }: from then on, a promise',
    anyOf: [
      { type: 'boolean' },
      {
        type: 'object',
        additionalProperties: false,
        required: ['now'],
        properties: { now: { type: 'boolean' }, at: unixSecs },
      },
    ],
  },
  needs_secs: {
    type: ['number', 'null'],
    minimum: 0,
    maximum: MAX_SECS,
    description:
      'It still needs so long, and what it has done is lost if it is ended earlier; 0 and no can_terminate beside it: it can be ended now; null: not known any more',
  },
  progress: {
    type: ['number', 'null'],
    minimum: 0,
    maximum: 1,
    description: 'How far it is; null: not known any more',
  },
} as const;

const bodySchema = { type: 'object', properties: answerProperties } as const;
type Said = Static<typeof bodySchema>;

/** What it says from now on; undefined where the body says nothing of it. */
export function answerAfter(before: CanTerminate | undefined, body: Said, nowMs: number): CanTerminate | undefined {
  const { can_terminate: can, needs_secs: needs, progress } = body;
  if (can === undefined && needs === undefined && progress === undefined) return undefined;
  const untilMs = needs === undefined ? before?.untilMs : needs === null ? undefined : nowMs + Math.round(needs * 1000);
  const done = progress === undefined ? before?.progress : (progress ?? undefined);
  return {
    ...whenOf(before, body, nowMs),
    ...(untilMs !== undefined && { untilMs }),
    ...(done !== undefined && { progress: done }),
  };
}

type When = Pick<CanTerminate, 'now' | 'atMs'>;
const NOT_SAID: When = { now: false, atMs: null };

/**
 * Who needs nothing more can go, until it says again that it needs something: the next piece of work must not be lost because
 * the one before was done. A plain `true` is kept over that, so the two are told apart: "needs nothing" has an instant.
 */
function whenOf(before: When = NOT_SAID, { can_terminate: can, needs_secs: needs }: Said, nowMs: number): When {
  if (can !== undefined) return typeof can === 'boolean' ? { now: can, atMs: null } : whenSaid(can);
  if (needs === 0) return before.now ? before : { now: true, atMs: nowMs };
  const neededNothing = before.now && before.atMs !== null;
  return needs !== undefined && neededNothing ? NOT_SAID : { now: before.now, atMs: before.atMs };
}

/** Beside `now` a later time says nothing. */
const whenSaid = ({ now, at }: { readonly now: boolean; readonly at?: number }): When => ({
  now,
  atMs: at === undefined || now ? null : Math.round(at * 1000),
});

/** As its owner sees it. Rounded up like the machine's answer: nobody is told that work is safe before it is. */
export function answerRow(said: CanTerminate | undefined) {
  const { untilMs, progress = null } = said ?? {};
  return {
    can_terminate: said === undefined ? null : { now: said.now, at: said.now ? null : atSecs(said.atMs) },
    needs_until: untilMs === undefined ? null : Math.ceil(untilMs / 1000),
    progress,
  };
}

const atSecs = (ms: number | null): number | null => (ms === null ? null : ms / 1000);
