/** What concerns all of the machine: notices, the words between it and its site, and what happened. */
import type { Lifetime, Notice } from '../documents.ts';
import { distance, shown } from '../texts.ts';
import { aside, type Child, draw, h, quoted, several, tag } from './build.ts';
import { bar, more, none, timeOf } from './pieces.ts';
import { minute, nowMs, state } from './state.ts';

const MOST_NOTICES = 50;
const MOST_EVENTS = 40;

export function drawNotices({ notices }: Lifetime): void {
  draw('notices', minute(), () => {
    if (notices.length === 0) return [none('None: nobody has announced an interruption.')];
    const rows = notices.slice(0, MOST_NOTICES).map(noticeRow);
    return [h('ul', { class: 'plain' }, ...rows), more(notices.length - rows.length, '/v1/lifetime has them all.')];
  });
}

function noticeRow(notice: Notice): HTMLElement {
  const marks = [
    ...(notice.stale ? ['stale: its source is silent'] : []),
    ...(notice.ignored === true ? ['ignored by the operator'] : []),
    ...(notice.expired === true ? ['expired: of a time before this boot'] : []),
    ...(notice.broken_promise === true ? ['less notice than the host promises'] : []),
  ];
  return h(
    'li',
    {},
    h('strong', {}, notice.kind),
    ...(notice.deadline === null
      ? [' without a time']
      : [' at ', timeOf(notice.deadline), `, ${distance(notice.deadline, nowMs())}`]),
    ...marks.flatMap((mark) => [' ', tag(mark, 'warn')]),
    notice.reason === '' ? null : several(quoted(shown(notice.reason))),
    h('span', { class: 'aside' }, 'from ', quoted(shown(notice.id)), ', first seen ', timeOf(notice.first_seen)),
  );
}

export function drawAnswer({
  termination_allowed: allowed,
  can_terminate: can,
  grace_secs: grace,
  payloads,
}: Lifetime): void {
  draw('answer', minute(), () => {
    const words = (state.payloads ?? []).flatMap(({ name, final_word: word }) =>
      word === null ? [] : [{ name, word }],
    );
    return [
      h(
        'dl',
        {},
        ...row('Site may terminate', allowed === null ? 'the host does not say' : allowed ? 'at any time' : 'no'),
        ...row('Host promises', grace === null ? 'no notice ahead' : `${grace} s of notice`),
        ...row('Can terminate', ...canTerminate(can)),
        ...(can?.progress == null ? [] : row('Progress', bar(can.progress, 'progress of all payloads'))),
        ...row(
          'Payloads',
          Object.entries(payloads)
            .map(([name, count]) => `${count} ${name}`)
            .join(', '),
        ),
        ...words
          .slice(-3)
          .flatMap(({ name, word }) => row('Last word', `${word.code} `, quoted(shown(word.text)), aside(shown(name)))),
      ),
    ];
  });
}

const row = (name: string, ...content: readonly Child[]): readonly HTMLElement[] => [
  h('dt', {}, name),
  h('dd', {}, ...content),
];

function canTerminate(can: Lifetime['can_terminate']): readonly Child[] {
  if (can === null) return ['no payload has ever said'];
  if (can.now) return [tag('now', 'good'), ' no work is lost'];
  if (can.at !== null && (can.must_not_until === null || can.must_not_until < can.at))
    return ['from ', timeOf(can.at), `, ${distance(can.at, nowMs())}`];
  if (can.must_not_until !== null)
    return [
      'not before ',
      timeOf(can.must_not_until),
      `, ${distance(can.must_not_until, nowMs())}: work is lost until then`,
    ];
  return [tag('not now', 'warn'), ' nobody has said how long'];
}

export function drawHistory(): void {
  const { history } = state;
  if (history === null) return;
  draw('history', `${state.round} ${minute()}`, () => {
    const newest = [...history.events].reverse().slice(0, MOST_EVENTS);
    return [
      h(
        'ol',
        { class: 'plain events', reversed: '' },
        ...newest.map(({ at, text, deadline }) =>
          h(
            'li',
            {},
            timeOf(at),
            ' ',
            quoted(shown(text)),
            deadline !== undefined && h('span', { class: 'muted' }, ' → ', timeOf(deadline)),
          ),
        ),
      ),
      more(history.events.length - newest.length, '/v1/history has what the agent remembers.'),
    ];
  });
}
