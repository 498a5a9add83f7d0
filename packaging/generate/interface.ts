/** The API document of the program as it stands: from its routes, which nobody calls here. */
import { pino } from 'pino';
import { systemClock } from '../../agent/clock.ts';
import { initialState } from '../../agent/lifetime/state.ts';
import { step } from '../../agent/lifetime/step.ts';
import type { AgentPort } from '../../agent/ports.ts';
import { DEFAULT_BOUNDS } from '../../agent/publish/http/bounds.ts';
import { createCallers } from '../../agent/publish/http/caller.ts';
import { createHub } from '../../agent/publish/http/hub.ts';
import type { Json } from '../../agent/publish/http/route-doc.ts';
import { createApp } from '../../agent/publish/http/server.ts';
import { publicationOf } from '../../agent/publish/publication.ts';

const unused = (): never => {
  throw new Error('only /openapi.json is asked here');
};
const { snapshot, payloads } = step(initialState(0, 0), { type: 'tick' }, { wall: 0, mono: 0 });
const port: AgentPort = {
  publication: () => publicationOf(snapshot, payloads, null),
  subscribe: () => () => undefined,
  sources: unused,
  register: unused,
  filesWritten: unused,
  describeUnit: unused,
  lookUpCgroup: unused,
  containment: unused,
  submit: unused,
  jobOutput: unused,
  readiness: unused,
  health: unused,
  metricsText: unused,
  payload: unused,
  nowMs: () => 0,
  count: () => undefined,
};

/** As it is served, but for what differs from release to release. */
export async function interfaceDocument(): Promise<Json> {
  const app = await createApp({
    port,
    log: pino({ level: 'silent' }),
    bounds: DEFAULT_BOUNDS,
    hub: createHub(port, 0),
    callers: createCallers({ procRoot: '/proc', bounds: DEFAULT_BOUNDS }),
    clock: systemClock,
    version: '',
    page: null,
    instance: '',
    runtimeDir: '/run/mjf-agent',
    procRoot: '/proc',
    reservedOutputs: new Set(),
    baseUrl: () => null,
  });
  try {
    const answer = await app.inject('/openapi.json');
    if (answer.statusCode !== 200) throw new Error(answer.body);
    const { 'x-agent-version': _version, ...document } = answer.json<Record<string, unknown>>();
    return document;
  } finally {
    await app.close();
  }
}
