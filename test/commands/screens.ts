/** Documents for the screens of the commands, and the looks that they are tried in. */
import { type LifetimeDocument, parseLifetime } from '../../agent/commands/lifetime-document.ts';
import { type PayloadRow, parsePayloads } from '../../agent/commands/own-payloads.ts';
import type { Look } from '../../agent/terminal/look.ts';
import { lifetime } from './cli.ts';

export const NOW_SECS = 1_766_430_000;
export const NOW_MS = NOW_SECS * 1000;
const DEADLINE = NOW_SECS + 4_980;

export const look = (columns: number | null, change: Partial<Look> = {}): Look => ({
  columns,
  colour: false,
  unicode: true,
  ...change,
});

export function document(change: Readonly<Record<string, unknown>> = {}): LifetimeDocument {
  const parsed = parseLifetime(Buffer.from(lifetime(change)));
  if (parsed === undefined) throw new Error('no document');
  return parsed;
}

const feature = (value: string, source: string, ageSecs: number, stale = false) => ({
  value,
  source,
  since: NOW_SECS - ageSecs,
  stale,
});

/** A machine that drains: everything that a document can hold, and text from a hostile host. */
export const BUSY = {
  phase: 'draining',
  deadline: DEADLINE,
  grace_secs: 7_200,
  drain_at: NOW_SECS - 600,
  stop_at: DEADLINE - 120,
  reason: 'ec2: spot terminate',
  termination_allowed: true,
  can_terminate: { now: false, at: null, must_not_until: NOW_SECS + 1_200, progress: 0.29 },
  notices: [
    {
      id: 'ec2/spot',
      source: 'ec2',
      kind: 'terminate',
      deadline: DEADLINE,
      reason: 'spot',
      first_seen: NOW_SECS - 2_220,
    },
    {
      id: 'operator/3',
      source: 'operator',
      kind: 'drain',
      deadline: null,
      reason: '計算機の保守 🛠️ \u001b[2J',
      first_seen: 1,
    },
    {
      id: 'directory/shutdowntime',
      source: 'directory',
      kind: 'shutdown',
      deadline: DEADLINE + 3_600,
      reason: 'the whole rack is taken down for its yearly maintenance, see the calendar of the site',
      first_seen: 1,
      stale: true,
    },
  ],
  machinefeatures: {
    total_cpu: feature('8', 'directory', 86_400),
    hs06: feature('171.04', 'directory', 86_400, true),
    motd: feature('Grüße \u202e aus Zürich, und noch sehr viel mehr Text, als in eine Spalte paßt', 'mjf', 60),
  },
  jobfeatures: { job_id: feature('vm-17\u001b[31m', 'mjf', 7_000) },
  sources: [
    { name: 'directory', state: 'stale', since: NOW_SECS - 300, error: 'hung' },
    { name: 'ec2', state: 'ok', since: NOW_SECS - 86_400 },
    { name: 'mjf', state: 'failed', since: NOW_SECS - 30, error: 'http_503', faults: { 'machine/hs06': 'bad_number' } },
  ],
  payloads: { running: 2, stopping: 1, stopped: 1 },
} as const;

const row = (id: string, name: string, state: string, change: Readonly<Record<string, unknown>> = {}) => ({
  id,
  name,
  state,
  stop_at: DEADLINE - 120,
  ...change,
});

export const ROWS: readonly PayloadRow[] = parsePayloads(
  Buffer.from(
    JSON.stringify([
      row('p-1', 'atlas-pilot', 'running', { progress: 0.29, needs_until: NOW_SECS + 1_200 }),
      row('p-2', 'condor\u0007', 'stopping', { stop_at: NOW_SECS - 5 }),
      row('p-3', 'lhcb', 'running', { can_terminate: { now: true, at: null } }),
    ]),
  ),
);
