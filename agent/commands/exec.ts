/** `mjf-agent exec`: the options and the help of it; what it does is in exec/run.ts. */
import path from 'node:path';
import { loadConfig } from '../config.ts';
import { limitsOf } from '../exec/limits.ts';
import { parseCodes, parseDuration, parseStep } from '../exec/options.ts';
import { runPayload } from '../exec/run.ts';
import { defineCommand, type OptionSpecs, RUNTIME_DIR_OPTION, runtimeDirOf, UsageError } from './command.ts';
import { explainConfig } from './outcome.ts';

const OPTIONS = {
  name: {
    type: 'string',
    value: 'NAME',
    description: 'what it is called in status, logs and metrics (default: the command)',
  },
  features: {
    type: 'string',
    value: 'path|url',
    description: 'give the payload directories or URLs in MACHINEFEATURES and JOBFEATURES (default path)',
  },
  grace: {
    type: 'string',
    value: 'D',
    description: "how long before the deadline stopping begins, e.g. 90s (default: the daemon's)",
  },
  step: {
    type: 'string',
    multiple: true,
    value: 'AT:SIGNAL[:TO]',
    description: 'one step of stopping, e.g. grace:SIGTERM or 5s:SIGKILL:all; may be given more than once',
  },
  cpus: { type: 'string', value: 'N', description: 'processors that are its own (allocated_cpu)' },
  wall: {
    type: 'string',
    value: 'D',
    description: 'stop it at the latest after this long, e.g. 12h (wall_limit_secs); with or without a daemon',
  },
  memory: { type: 'string', value: 'SIZE', description: 'memory that is its own, e.g. 4G (max_rss_bytes)' },
  scratch: {
    type: 'string',
    value: 'SIZE',
    description: 'scratch space that is its own, e.g. 20G (scratch_limit_bytes)',
  },
  'job-id': { type: 'string', value: 'ID', description: "the batch system's name of it (job_id)" },
  code: {
    type: 'string',
    multiple: true,
    value: 'EXIT=NNN[:TEXT]',
    description: 'what its end means to the site, e.g. "3=300:No more work"; EXIT is 0 to 255, signal or other',
  },
  config: {
    type: 'string',
    value: 'FILE',
    description: 'configuration: [report.codes], and all the rest for when there is no daemon',
  },
  ...RUNTIME_DIR_OPTION,
} as const satisfies OptionSpecs;

export const command = defineCommand({
  name: 'exec',
  summary: 'run one payload under the care of the agent',
  usage: 'exec [OPTIONS] -- COMMAND [ARGUMENT…]',
  options: OPTIONS,
  positionals: { least: 0, most: 64 },
  takesRest: true,
  details: `The command runs in a session and process group of its own; signals that exec gets go to the whole group. By default the
group gets SIGTERM at the deadline less the grace, and SIGKILL 5 s before the deadline. SIGKILL also finds what has left the
group, by a variable in its environment.

MACHINEFEATURES and JOBFEATURES name a view of the payload's own: the machine's features, less what --cpus, --wall, --memory,
--scratch and --job-id say; never more than the machine has. Sizes are bytes, or K, M, G, T of 1024 (4G is 4294967296). Only
--wall is enforced, as a deadline of the payload's own; the others tell the payload what it may use. Without a daemon there is
no such view: the payload is told of the machine's features, and --wall is enforced all the same.

Exit code: 75 when the deadline stopped the payload, whatever it returned (a batch system should requeue it); else the
payload's own, 128 + n for a signal; 127 or 126 when it could not be started. Wrong options are 64, a wrong configuration 78.

At its end the site is told 200 when it returned 0, 100 when the deadline stopped it, else 700; unless it has said its last
word itself ("mjf-agent finish"). --code and [report.codes] say otherwise for an exit code; where the deadline stopped it,
only from 300 on. MJF_PAYLOAD_URL names its row, where it can say with PATCH how long it still needs; unset without a daemon.

Without a daemon exec reads the host's channels itself; should the daemon die, it goes on with the last plan that it had.
Should exec die, the daemon stops what is left of the payload, but for processes that have become another user's (su, sudo).

The payload has no controlling terminal. A hang-up (SIGHUP) is passed on like any other signal, and Node forgets that it was
to be ignored: to outlive a logout write "mjf-agent exec -- nohup COMMAND".`,
  async run(context) {
    const { values, env, complain } = context;
    const [command, ...args] = context.rest ?? context.positionals;
    if (command === undefined) throw new UsageError('what is to be run? usage: mjf-agent exec [OPTIONS] -- COMMAND…');
    const { features = 'path' } = values;
    if (features !== 'path' && features !== 'url') throw new UsageError('--features takes path or url');
    const wish = {
      command,
      args,
      name: values.name ?? path.basename(command),
      features,
      graceMs: values.grace === undefined ? undefined : parseDuration('--grace', values.grace),
      steps: values.step?.map(parseStep),
      limits: limitsOf(values),
      codes: parseCodes(values.code ?? []),
      runtimeDir: runtimeDirOf(context),
    } as const;
    const loaded = await loadConfig({ env, flags: {}, ...(values.config !== undefined && { file: values.config }) });
    if (!loaded.ok) return explainConfig(loaded.problems, values.config, context);
    // What the payload asks (finish, get, status) is the daemon that cares for it, wherever the option has found that.
    const asked = values['runtime-dir'] === undefined ? {} : { MJF_AGENT_RUNTIME_DIR: wish.runtimeDir };
    return runPayload({ ...wish, config: loaded.config, env: { ...env, ...asked }, complain });
  },
});
