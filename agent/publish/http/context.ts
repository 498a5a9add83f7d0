/** What every route group is given. */
import type { Logger } from 'pino';
import type { Clock } from '../../clock.ts';
import type { AgentPort } from '../../ports.ts';
import type { HttpBounds } from './bounds.ts';
import type { Callers } from './caller.ts';
import type { Hub } from './hub.ts';
import type { StatusPage } from './root.ts';

export interface HttpContext {
  readonly port: AgentPort;
  readonly log: Logger;
  readonly bounds: HttpBounds;
  readonly hub: Hub;
  readonly callers: Callers;
  readonly clock: Clock;
  readonly version: string;
  /** null: this program has none. */
  readonly page: StatusPage | null;
  /** The id on every answer (instance.ts). */
  readonly instance: string;
  /** Real directory of the published tree: `views/TOKEN` of a payload lies in it. */
  readonly runtimeDir: string;
  readonly procRoot: string;
  /** Names under `/joboutputs/` that only the agent itself writes (S5.3). */
  readonly reservedOutputs: ReadonlySet<string>;
  /** `http://127.0.0.1:8653`, or null while no TCP listener is up. */
  baseUrl(): string | null;
}
