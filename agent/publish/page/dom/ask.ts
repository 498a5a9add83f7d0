/** All questions to the agent: the event stream, and a modest round of GETs beside it while the page is looked at. */
import { hostShiftSecs, narrowed } from '../clock.ts';
import type { History, Lifetime, Payload, Source } from '../documents.ts';
import { nowMs, state } from './state.ts';

/** Live values of the sources; a source is asked no oftener by this. */
const ROUND_MS = 5_000;
/** After a change, and between two rounds at the least: who changes something ten times a second is not to be asked as often. */
const SOON_MS = 1_000;
/** Changes that come in a burst are drawn together. */
const DRAW_MS = 250;
/** While nobody answers. */
const RETRY_MS = 2_000;
/** A stream that was refused (all its places are taken) would be refused in the next moment too. */
const REOPEN_MS = 10_000;
/** An agent on this machine or at the end of a tunnel that takes longer is as good as gone. */
const ANSWER_MS = 8_000;
/** Rows of payloads cost the agent a look into each process: of its time it is to take a twentieth at the most. */
const REST_FACTOR = 20;
const QUICK_MS = 100;
const REFUSED_MS = 60_000;

let changed: () => void = () => {};
let stream: EventSource | null = null;
let timer = 0;
let asking = false;
/** Something has changed since the last round began. */
let wanted = false;
/** These on a clock that nobody sets. */
let askedMs = Number.NEGATIVE_INFINITY;
let openedMs = Number.NEGATIVE_INFINITY;
let drawnMs = Number.NEGATIVE_INFINITY;
let drawTimer = 0;
let rowsNotBeforeMs = 0;

/** `onChange` is called whenever the state has. */
export function startAsking(onChange: () => void): void {
  changed = onChange;
  document.addEventListener('visibilitychange', askNow);
  window.addEventListener('online', askNow);
  askNow();
}

function askNow(): void {
  clearTimeout(timer);
  if (!document.hidden) void round();
}

function askSoon(): void {
  wanted = true;
  if (asking || document.hidden) return;
  clearTimeout(timer);
  timer = setTimeout(askNow, askedMs + SOON_MS - performance.now());
}

function drawSoon(): void {
  if (drawTimer !== 0) return;
  const inMs = drawnMs + DRAW_MS - performance.now();
  if (inMs > 0) drawTimer = setTimeout(redraw, inMs);
  else redraw();
}

function redraw(): void {
  drawTimer = 0;
  drawnMs = performance.now();
  changed();
}

async function round(): Promise<void> {
  if (asking) return;
  asking = true;
  wanted = false;
  askedMs = performance.now();
  try {
    // Without the stream, whatever keeps it from opening, the document is asked for like the rest.
    if (stream === null || stream.readyState !== EventSource.OPEN) take(await get<Lifetime>('/v1/lifetime'));
    const [sources, history] = await Promise.all([get<readonly Source[]>('/v1/sources'), get<History>('/v1/history')]);
    state.sources = sources;
    state.history = history;
    await askForShift();
    await askForRows();
    state.link = { heardMs: Date.now(), failed: false };
    const closed = stream === null || stream.readyState === EventSource.CLOSED;
    if (closed && performance.now() - openedMs > REOPEN_MS) openStream();
  } catch {
    state.link = { ...state.link, failed: true };
  }
  asking = false;
  state.round += 1;
  changed();
  clearTimeout(timer);
  const nextMs = state.link.failed ? RETRY_MS : wanted ? SOON_MS : ROUND_MS;
  if (!document.hidden) timer = setTimeout(askNow, nextMs);
}

function openStream(): void {
  stream?.close();
  openedMs = performance.now();
  const opened = new EventSource('/v1/events');
  stream = opened;
  opened.addEventListener('lifetime', (event) => {
    if (typeof event.data !== 'string') return;
    take(JSON.parse(event.data));
    drawSoon();
    // What else has changed with it: events, steps, sources.
    askSoon();
  });
  // The browser opens it again by itself; whether the agent is gone is for the next answer to say.
  opened.addEventListener('error', () => void round());
  opened.addEventListener('open', () => void round());
}

function take(lifetime: Lifetime): void {
  state.lifetime = lifetime;
  state.version += 1;
}

/** Only where a host's clock is planned with does its deadline differ from ours. */
async function askForShift(): Promise<void> {
  const { lifetime } = state;
  const differs = lifetime?.sources.some((source) => source.clock_offset_secs !== undefined) === true;
  if (lifetime?.deadline == null || !differs) {
    state.shiftSecs = 0;
    return;
  }
  const answer = await ask('/v1/remaining_secs');
  const remaining = Number((await answer.text()).trim());
  if (answer.ok && lifetime === state.lifetime) state.shiftSecs = hostShiftSecs(lifetime.deadline, remaining, nowMs());
}

async function askForRows(): Promise<void> {
  const { lifetime } = state;
  if (lifetime === null) return;
  const alive = (lifetime.payloads['running'] ?? 0) + (lifetime.payloads['stopping'] ?? 0);
  if (alive === 0 && (state.payloads?.length ?? 0) === 0) return;
  const begunMs = Date.now();
  if (begunMs < rowsNotBeforeMs) return;
  const answer = await ask('/v1/payloads');
  // Not from this address, or not on this machine: asking on and on would only fill the agent's log.
  state.payloadsRefused = answer.status === 403;
  if (answer.ok) state.payloads = (await answer.json()) as readonly Payload[];
  else if (state.payloadsRefused) state.payloads = [];
  const tookMs = Date.now() - begunMs;
  const restMs = state.payloadsRefused ? REFUSED_MS : tookMs < QUICK_MS ? 0 : tookMs * REST_FACTOR;
  rowsNotBeforeMs = Date.now() + restMs;
}

async function get<T>(path: string): Promise<T> {
  const answer = await ask(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return (await answer.json()) as T;
}

async function ask(path: string): Promise<Response> {
  const sentMs = Date.now();
  const answer = await fetch(path, { cache: 'no-cache', signal: AbortSignal.timeout(ANSWER_MS) });
  const dateMs = Date.parse(answer.headers.get('date') ?? '');
  // A revalidated answer may bear the date of the one that was kept.
  if (!Number.isNaN(dateMs) && path === '/v1/sources')
    state.offset = narrowed(state.offset, sentMs, Date.now(), dateMs);
  return answer;
}
