/** The status page's own program: asks, and draws what has changed. */
import { linkState } from '../link.ts';
import { instant, shown } from '../texts.ts';
import { startAsking } from './ask.ts';
import { byId, draw } from './build.ts';
import { drawFeatures } from './draw-features.ts';
import { drawLine } from './draw-line.ts';
import { drawAnswer, drawHistory, drawNotices } from './draw-machine.ts';
import { drawNow } from './draw-now.ts';
import { drawPayloads } from './draw-payloads.ts';
import { drawSources } from './draw-sources.ts';
import { nowMs, state } from './state.ts';

const SECOND_MS = 1_000;
const filter = byId('filter');

function everything(): void {
  drawNow();
  const { lifetime } = state;
  if (lifetime !== null) {
    drawNotices(lifetime);
    drawAnswer(lifetime);
    drawPayloads(lifetime);
    drawFeatures(lifetime, filter instanceof HTMLInputElement ? filter.value.trim() : '');
  }
  drawSources(state.sources);
  drawHistory();
  drawLine();
  say();
}

/** For a screen reader: what a person would look up for, and never the seconds. */
let saidBefore: readonly string[] | null = null;
function say(): void {
  const { lifetime } = state;
  if (lifetime === null) return;
  const link = linkState(state.link, Date.now());
  const words = [
    link === 'lost' ? 'Connection to the agent lost, all values are old.' : 'Connected to the agent.',
    `Phase ${lifetime.phase}${lifetime.overdue ? ', overdue' : ''}.`,
    lifetime.deadline === null ? 'No deadline.' : `Deadline ${instant(lifetime.deadline, nowMs())}.`,
    ...lifetime.notices.map(
      ({ kind, reason, ignored }) => `Notice: ${kind}, ${shown(reason, 80)}${ignored ? ', ignored' : ''}.`,
    ),
  ];
  const before = saidBefore;
  saidBefore = words;
  if (before === null) return;
  const fresh = words.filter((word) => !before.includes(word));
  const gone = before.some((word) => word.startsWith('Notice') && !words.includes(word));
  const text = [...fresh, ...(gone ? ['A notice is gone.'] : [])].join(' ');
  if (text !== '') draw('said', `${state.version} ${text}`, () => [text]);
}

/** Each second at its beginning by the agent's clock, so that the countdown steps evenly. */
function tick(): void {
  drawNow();
  if (!document.hidden) drawLine();
  say();
  setTimeout(tick, SECOND_MS - (nowMs() % SECOND_MS) + 5);
}

byId('where').textContent = location.host;
byId('zone').textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
filter.addEventListener('input', everything);
new ResizeObserver(() => drawLine()).observe(byId('line'));
startAsking(everything);
tick();
