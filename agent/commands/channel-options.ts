/** Options that say which configuration counts and where the host's channels are: those of `run`, and of who looks beside it. */
import type { OptionSpecs } from './command.ts';

export const CHANNEL_OPTIONS = {
  config: {
    type: 'string',
    value: 'FILE',
    description: 'read this file alone, not /etc/mjf-agent/config.toml and conf.d',
  },
  machinefeatures: { type: 'string', value: 'PATH|URL', description: "the host's machine features" },
  jobfeatures: { type: 'string', value: 'PATH|URL', description: "the host's job features" },
  joboutputs: { type: 'string', value: 'PATH|URL', description: 'where words to the site go' },
} as const satisfies OptionSpecs;
