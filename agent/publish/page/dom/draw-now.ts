/** What matters first: how long still, what that means, and whether it is still true. */
import type { Lifetime } from '../documents.ts';
import { linkState } from '../link.ts';
import {
  countdown,
  countdownText,
  distance,
  doubtText,
  instant,
  isoInstant,
  PHASE_SIGNS,
  PHASE_WORDS,
  shown,
  tabText,
} from '../texts.ts';
import { byId, type Child, draw, h, quoted } from './build.ts';
import { drawIcon } from './icon.ts';
import { deadline, nowMs, state } from './state.ts';

/** Once a second. */
export function drawNow(): void {
  const { lifetime } = state;
  const link = linkState(state.link, Date.now());
  document.body.dataset['link'] = link;
  drawLink(link);
  // Without the agent's clock even a known deadline is no time left.
  if (lifetime === null || state.offset === null) {
    drawCount(link === 'lost' ? 'the agent does not answer' : 'asking the agent…');
    document.title = `${link === 'lost' ? 'no answer' : '…'} · mjf-agent ${location.host}`;
    drawIcon('unknown');
    return;
  }
  document.body.dataset['phase'] = lifetime.phase;
  const at = deadline();
  const now = nowMs();
  const left = at === null ? null : at * 1000 - now;
  // A countdown that nobody stands behind any more must not run on.
  if (link === 'lost') drawCount('not known now');
  else if (left === null) drawCount('no deadline is known');
  else if (lifetime.overdue) drawCount(left <= -1000 ? `overdue by ${countdownText(-left)}` : 'overdue');
  else if (left <= 0) drawCount('0 s');
  else
    draw('count', countdownText(left), () =>
      countdown(left).flatMap(({ number, unit }) => [number, ' ', h('small', {}, unit), ' ']),
    );
  byId('count').classList.toggle('words', link === 'lost' || left === null || (lifetime.overdue && left <= 0));
  byId('now').classList.toggle('overdue', link !== 'lost' && lifetime.overdue);
  drawUntil(link === 'lost', at, now, lifetime.overdue);
  drawDoubt(lifetime);
  // In the background nothing is asked, but the stream goes on: its end is what is heard of there.
  const unknown = document.hidden ? state.link.failed : link === 'lost';
  const waits = document.hidden && at !== null && !lifetime.overdue;
  const title = lifetime.overdue ? 'overdue' : waits ? `until ${instant(at, now)}` : titleOf(left);
  // The address tells one tunnel from another.
  document.title = `${unknown ? 'not known' : title} · ${lifetime.phase} · mjf-agent ${location.host}`;
  drawIcon(unknown ? 'unknown' : lifetime.overdue ? 'overdue' : lifetime.phase);
  // What was to be done then may be wrong by now.
  const advice = link === 'lost' ? 'when the agent was last heard' : (PHASE_WORDS[lifetime.phase] ?? '');
  draw('phase', `${lifetime.phase} ${advice}`, () => [
    h(
      'span',
      { class: 'badge' },
      h('span', { 'aria-hidden': 'true' }, `${PHASE_SIGNS[lifetime.phase] ?? ''} `),
      lifetime.phase,
    ),
    h('span', {}, advice),
  ]);
  draw('reason', lifetime.reason ?? '', () =>
    lifetime.reason === null ? [] : [h('span', { class: 'muted' }, 'reason: '), quoted(shown(lifetime.reason))],
  );
  const alarm = lifetime.overdue ? 'Overdue: the machine has outlived its deadline.' : '';
  draw('alarm', alarm, () => [alarm]);
  byId('alarm').hidden = alarm === '';
}

function drawCount(words: string): void {
  draw('count', words, () => [words]);
  byId('count').classList.add('words');
}

/** The place of the countdown's line of small print. */
function drawUntil(lost: boolean, at: number | null, now: number, overdue: boolean): void {
  const heard = state.link.heardMs;
  const old =
    lost && heard !== null
      ? ` when the agent was last heard, ${distance(heard / 1000, Date.now()).replace('now', 'just now')}`
      : '';
  const key = `${at} ${lost ? old : ''} ${overdue} ${instant(at ?? 0, now)}`;
  draw('until', key, (): readonly Child[] => {
    if (at === null) return [lost ? `There was no deadline${old}.` : 'The host has announced no end of this machine.'];
    const shift =
      state.shiftSecs === 0
        ? ''
        : ` (the host's clock differs by ${Math.abs(state.shiftSecs)} s: it says ${instant(at + state.shiftSecs, now)})`;
    const time = h('time', { datetime: isoInstant(at), title: isoInstant(at) }, instant(at, now));
    return lost
      ? [`The deadline was `, time, `${old}.`]
      : [overdue ? 'since the deadline at ' : 'to the deadline at ', time, shift];
  });
}

const titleOf = (left: number | null): string => (left === null ? 'no deadline' : tabText(left));

/** What is shown holds, but nobody confirms it: said beside the countdown, since the sources stand far below. */
function drawDoubt({ sources, notices, deadline: at }: Lifetime): void {
  const isStale = notices.some((notice) => notice.deadline === at && at !== null && notice.stale);
  const text = doubtText(sources);
  const more = isStale ? '. The deadline holds until its source says otherwise.' : '';
  draw('doubt', `${text}${more}`, () =>
    text === null ? [] : [h('span', { 'aria-hidden': 'true' }, '◷ '), h('a', { href: '#sources-title' }, text), more],
  );
  byId('doubt').hidden = text === null;
}

function drawLink(link: string): void {
  const heard = state.link.heardMs;
  const words =
    link === 'live'
      ? 'live'
      : link === 'connecting'
        ? 'connecting…'
        : heard === null
          ? 'the agent does not answer; trying again'
          : `connection to the agent lost since ${instant(heard / 1000, Date.now())}: all values are old; trying again`;
  draw('link-text', words, () => [words]);
}
