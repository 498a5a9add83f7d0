/** Every command, in the order of `--help`. Each loads only when it is called: `get` must not pay for the daemon. */
import type { Command } from './command.ts';

export interface CommandRow {
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<{ readonly command: Command }>;
}

export const commandTable: readonly CommandRow[] = [
  { name: 'run', summary: 'the daemon', load: () => import('./run.ts') },
  { name: 'status', summary: 'what is known of this machine, on one screen', load: () => import('./status.ts') },
  { name: 'get', summary: 'print the value of one key', load: () => import('./get.ts') },
  { name: 'watch', summary: 'show every change as it comes', load: () => import('./watch.ts') },
  { name: 'exec', summary: 'run one payload under the care of the agent', load: () => import('./exec.ts') },
  { name: 'finish', summary: "the payload's last word to the site", load: () => import('./finish.ts') },
  {
    name: 'notice',
    summary: 'announce, cancel or override an interruption (operator)',
    load: () => import('./notice.ts'),
  },
  { name: 'env', summary: 'print MACHINEFEATURES, JOBFEATURES and JOBOUTPUTS', load: () => import('./env.ts') },
  {
    name: 'probe',
    summary: 'what this machine is, which channels answer, what the agent would do',
    load: () => import('./probe.ts'),
  },
  { name: 'check', summary: 'validate the configuration', load: () => import('./check.ts') },
  { name: 'demo', summary: 'the whole life of a virtual machine in half a minute', load: () => import('./demo.ts') },
];
