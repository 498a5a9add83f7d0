/** The payloads that the kernel says this caller may see; the others are counted (S5.5). */
import type { Lifetime, Payload, Step } from '../documents.ts';
import { counted, distance, shown } from '../texts.ts';
import { aside, type Child, draw, h, quoted, several, table, tag } from './build.ts';
import { bar, more, timeOf } from './pieces.ts';
import { minute, nowMs, state } from './state.ts';

const MOST_PAYLOADS = 100;
const MOST_STEPS = 6;
/** What is being stopped first, what is over last. */
const ORDER: Readonly<Record<string, number>> = { stopping: 0, running: 1, stopped: 2 };

export function drawPayloads({ payloads: counts }: Lifetime): void {
  draw('payloads', `${state.round} ${minute()}`, () => {
    const alive = (counts['running'] ?? 0) + (counts['stopping'] ?? 0);
    const words = Object.entries(counts).map(([name, count]) => `${count} ${name}`);
    const rows = [...(state.payloads ?? [])].sort(
      (one, other) => (ORDER[one.state] ?? 3) - (ORDER[other.state] ?? 3) || (one.stop_at ?? 0) - (other.stop_at ?? 0),
    );
    const others = alive - rows.filter(({ state: how }) => how !== 'stopped').length;
    const first = rows.slice(0, MOST_PAYLOADS);
    return [
      h('p', {}, words.join(', ')),
      first.length > 0 &&
        table(
          'Yours, as the kernel says who you are',
          ['Name', 'State', 'Steps', 'Its own end'],
          first.map(payloadRow),
        ),
      more(rows.length - first.length, '/v1/payloads has them all.'),
      others > 0 &&
        h(
          'p',
          { class: 'note' },
          `${counted(others, 'payload belongs', 'payloads belong')} to ${state.payloadsRefused ? 'users that cannot be told from here' : 'other users'}: names and steps are shown to their owners and root only.`,
        ),
    ];
  });
}

function payloadRow(payload: Payload): readonly Child[] {
  const { name, uid, pid, target, state: how, stop_at: stop, deadline } = payload;
  return [
    several(quoted(shown(name, 80)), aside(`${target}${pid === null ? '' : ` ${pid}`} of uid ${uid}`)),
    several(
      tag(how, how === 'running' ? 'good' : how === 'stopping' ? 'warn' : ''),
      stop !== null && h('span', { class: 'aside' }, 'stop ', timeOf(stop)),
      deadline !== null && h('span', { class: 'aside' }, 'deadline ', timeOf(deadline)),
    ),
    steps(payload.steps),
    several(...ownEnd(payload)),
  ];
}

const SIGNS: Readonly<Record<string, string>> = { planned: '○', pending: '◔', done: '●', refused: '✕', skipped: '–' };

function steps(all: readonly Step[]): HTMLElement {
  return h(
    'ul',
    { class: 'plain tight' },
    ...all
      .slice(0, MOST_STEPS)
      .map(({ signal, hook, due, state: how }) =>
        h(
          'li',
          {},
          h('span', { 'aria-hidden': 'true' }, `${SIGNS[how] ?? '○'} `),
          h('span', { class: 'code' }, signal ?? `hook ${shown(hook ?? '', 40)}`),
          ` ${how}`,
          due === null ? null : h('span', { class: 'muted' }, ' ', timeOf(due)),
        ),
      ),
    all.length > MOST_STEPS && h('li', { class: 'muted' }, `and ${all.length - MOST_STEPS} more`),
  );
}

function ownEnd({ can_terminate: can, needs_until: needs, progress, final_word: word }: Payload): readonly Child[] {
  return [
    can !== null &&
      (can.now ? 'can end now' : can.at === null ? 'must not end now' : h('span', {}, 'can end from ', timeOf(can.at))),
    needs !== null && h('span', { class: 'aside' }, 'needs until ', timeOf(needs), `, ${distance(needs, nowMs())}`),
    progress !== null && several(bar(progress, 'progress')),
    word !== null && h('span', { class: 'aside' }, `last word ${word.code} `, quoted(shown(word.text, 80))),
  ];
}
