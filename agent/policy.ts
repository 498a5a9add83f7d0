/** The configuration as far as the heart and the drivers of sources need it. */
import type { Config } from './config/types.ts';
import type { Policy } from './lifetime/types.ts';

export function policyOf(config: Config): Policy {
  return {
    drainMs: config.stop.drainMs,
    graceMs: config.stop.graceMs,
    steps: config.stop.steps,
    kindOverrides: config.notice,
    shutdownKeys: config.publish.shutdownKeys,
  };
}
