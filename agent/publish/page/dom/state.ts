/** What the page knows, in one place; `ask.ts` fills it, the `draw-*.ts` show it. */
import { agentTimeMs, type Offset } from '../clock.ts';
import type { History, Lifetime, Payload, Source } from '../documents.ts';
import type { Link } from '../link.ts';

export interface PageState {
  lifetime: Lifetime | null;
  /** Count documents and rounds of questions, so that one need not be compared with another. */
  version: number;
  round: number;
  /** Host's deadline minus the same moment on this machine's clock (S4.3). */
  shiftSecs: number;
  sources: readonly Source[];
  history: History | null;
  /** null: not asked yet. */
  payloads: readonly Payload[] | null;
  /** Who asks from here cannot be told. */
  payloadsRefused: boolean;
  offset: Offset | null;
  link: Link;
}

export const state: PageState = {
  lifetime: null,
  version: 0,
  round: 0,
  shiftSecs: 0,
  sources: [],
  history: null,
  payloads: null,
  payloadsRefused: false,
  offset: null,
  link: { heardMs: null, failed: false },
};

/** The agent's time, as well as it is known. */
export const nowMs = (): number => (state.offset === null ? Date.now() : agentTimeMs(state.offset, Date.now()));

/** On this machine's clock, UNIX seconds. */
export function deadline(): number | null {
  const said = state.lifetime?.deadline ?? null;
  return said === null ? null : said - state.shiftSecs;
}

/** Ages are shown in minutes: what holds one is made anew that often. */
export const minute = (): string => `${state.version} ${Math.floor(nowMs() / 60_000)}`;
