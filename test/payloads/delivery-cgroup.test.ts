/** Signals to control groups and units: real groups, real processes. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { type Logger, pino } from 'pino';
import type { PayloadSpec, StepReceiver } from '../../agent/lifetime/types.ts';
import { type DeliverOptions, deliver } from '../../agent/payloads/delivery.ts';
import { makeCgroup, noCgroups, type TestCgroup } from '../support/cgroups.ts';
import { isAlive, SCRIPTS, startPayload, startTicksOf, untilDead } from '../support/processes.ts';

const real = { skip: noCgroups };
const HEARS = `process.on('SIGTERM', () => say('got SIGTERM')); say('ready');`;

function specFor(group: TestCgroup, changes: Partial<PayloadSpec> = {}): PayloadSpec {
  const target = { kind: 'cgroup', path: group.path, inode: group.inode } as const;
  return { id: 'c1', name: 'test', uid: 0, target, registeredMs: 0, ...changes };
}

function send(payload: PayloadSpec, signal: string, changes: Partial<DeliverOptions> & { to?: StepReceiver } = {}) {
  const { to = 'all', ...options } = changes;
  const killed: string[] = [];
  const lines: Record<string, unknown>[] = [];
  const log: Logger = pino({ base: null }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  const [report] = deliver([{ type: 'signal', payload, to, step: { episode: 1, index: 0, signal } }], {
    journal: { done: () => undefined },
    selfPid: process.pid,
    log,
    now: () => ({ wall: 1000, mono: 1 }),
    kill(pid, name) {
      killed.push(`${name} ${pid}`);
      process.kill(pid, name);
    },
    ...options,
  });
  return { outcome: report?.outcome, killed, lines };
}

test('to a control group: everybody in it and below it, wherever they went, and nobody else', real, async (t) => {
  const group = makeCgroup(t);
  const payload = await startPayload(t, `setTimeout(() => {}, 1); say('ready');`);
  group.below('inner').take(payload.pid);
  const forks = await startPayload(t, 'unused', {
    command: ['sh', '-c', 'read go; setsid -f sh -c "echo pid \\$\\$; exec sleep 1000"; sleep 1000 & echo ready; read go'],
  }).catch(() => null);
  assert.equal(forks, null, 'it reads before it says anything');
});
