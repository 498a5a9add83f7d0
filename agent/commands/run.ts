/** `mjf-agent run`: the daemon. What goes wrong at the start is one sentence and an exit code; what can mend itself waits. */
import fs from 'node:fs';
import { type Agent, startAgent } from '../agent.ts';
import { ClaimError } from '../claim.ts';
import { systemClock } from '../clock.ts';
import { type Config, type ConfigFlags, describeProblem, loadConfig } from '../config.ts';
import { EXIT } from '../exit-codes.ts';
import { isJournal } from '../log/journal.ts';
import { createLog } from '../log.ts';
import { RuntimeDirError } from '../publish/files.ts';
import { selfCommand } from '../self.ts';
import { openServiceManager, statusLine } from '../service-manager.ts';
import { CHANNEL_OPTIONS } from './channel-options.ts';
import { type CommandContext, defineCommand, type OptionSpecs } from './command.ts';
import { explainConfig } from './outcome.ts';

const STDOUT_FD = 1;
/** What ps, top and the kernel's own messages call it, whichever Node runs it. */
const COMM = 'mjf-agent';

const OPTIONS = {
  ...CHANNEL_OPTIONS,
  'runtime-dir': { type: 'string', value: 'DIR', description: 'publish here (default /run/mjf-agent)' },
  'state-dir': {
    type: 'string',
    value: 'DIR',
    description: 'keep here what outlives a boot (default /var/lib/mjf-agent)',
  },
  listen: {
    type: 'string',
    value: 'ADDR:PORT|off',
    description: 'HTTP interface (default 127.0.0.1:8653 and [::1]:8653; port 0 picks one)',
  },
  'poweroff-when-done': {
    type: 'boolean',
    description: 'switch the machine off once payloads have lived and all have ended ([stop] when_done, idle)',
  },
  'log-level': {
    type: 'string',
    value: 'LEVEL',
    description: 'least that is logged: trace, debug, info, warn or error (default info)',
  },
} as const satisfies OptionSpecs;

export const command = defineCommand({
  name: 'run',
  summary: 'the daemon',
  usage: 'run [OPTIONS]',
  options: OPTIONS,
  positionals: { least: 0, most: 0 },
  details: `Without any option or file the agent honours $MACHINEFEATURES and $JOBFEATURES, else directories that the host mounted at
/etc/machinefeatures and /etc/jobfeatures or below /run/mjf-host. Where there is none it waits for one to appear.

SIGTERM stops it: published files stay, payloads are left alone. SIGHUP reads the configuration again.
Logs are JSON lines on standard output, lines for people on a terminal.`,
  async run(context) {
    // First of all: a SIGHUP without a handler would end the process. Until there is an agent there is nothing to read again.
    let onHangup: () => void = () => {};
    process.on('SIGHUP', () => onHangup());
    nameProcess();
    const loaded = await loadConfig({ env: context.env, flags: flagsOf(context), ...fileOf(context) });
    if (!loaded.ok) return explainConfig(loaded.problems, context.values.config, context);
    // Published files are for everybody; what is secret sets its own mode.
    process.umask(0o022);
    let onDrop: (lines: number) => void = () => {};
    const { log, flush } = createLog({
      level: loaded.config.log.level,
      tty: process.stdout.isTTY === true,
      journal: isJournal(STDOUT_FD, context.env),
      onDrop: (lines) => onDrop(lines),
    });
    for (const warning of loaded.warnings) log.warn({ event: 'config_warning' }, warning);
    let agent: Agent;
    try {
      agent = startAgent({
        config: loaded.config,
        clock: systemClock,
        log,
        env: context.env,
        root: '/',
        self: selfCommand(),
        onLogDrops: (count) => {
          onDrop = count;
        },
      });
    } catch (error) {
      flush();
      return explainStart(error, context);
    }
    const manager = openServiceManager({
      env: context.env,
      pid: process.pid,
      health: agent.health,
      onFailure: (why) => log.warn({ event: 'notify_failed', why }, `the service manager cannot be told: ${why}`),
    });
    const refuse = (sentence: string): void => log.error({ event: 'config_refused' }, sentence);
    onHangup = () => void manager.reloading(() => reload(agent, context, refuse));
    const stopped = untilStopped();
    let shown = '';
    agent.watch((snapshot) => {
      shown = statusLine(snapshot);
      manager.status(shown);
    });
    agent
      .ready()
      .catch((error: unknown) =>
        log.error({ event: 'internal', err: error }, 'the HTTP interface could not be started'),
      )
      // Also without its doors: an agent that is killed for them again and again would stop nobody.
      .then(() => manager.ready(shown));
    const signal = await stopped;
    log.info({ event: 'stopping_agent', signal }, `${signal}: the agent ends, what it published stays`);
    await Promise.all([manager.stopping(), agent.stop()]);
    flush();
    return EXIT.ok;
  },
});

type RunContext = CommandContext<typeof OPTIONS>;

const fileOf = ({ values }: RunContext): { readonly file?: string } =>
  values.config === undefined ? {} : { file: values.config };

function flagsOf({ values }: RunContext): ConfigFlags {
  const flags = {
    machinefeatures: values.machinefeatures,
    jobfeatures: values.jobfeatures,
    joboutputs: values.joboutputs,
    runtimeDir: values['runtime-dir'],
    stateDir: values['state-dir'],
    listen: values.listen,
    logLevel: values['log-level'],
    poweroffWhenDone: values['poweroff-when-done'],
  };
  return Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined));
}

/** A configuration that has become wrong is told and not taken: the former one goes on. */
async function reload(agent: Agent, context: RunContext, refuse: (sentence: string) => void): Promise<void> {
  const loaded = await loadConfig({ env: context.env, flags: flagsOf(context), ...fileOf(context) });
  if (loaded.ok) {
    agent.reconfigure(loaded.config satisfies Config);
    return;
  }
  agent.configurationRefused();
  for (const problem of loaded.problems) refuse(`configuration not taken: ${describeProblem(problem)}`);
}

/** Not `process.title`: that overwrites the command line, by which an operator knows what was asked of it. */
function nameProcess(): void {
  try {
    fs.writeFileSync('/proc/self/comm', COMM);
  } catch {
    // Only a name.
  }
}

function untilStopped(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, resolve);
  });
}

function explainStart(error: unknown, context: RunContext): number {
  if (error instanceof ClaimError) {
    context.complain(error.message);
    return EXIT.failure;
  }
  if (!(error instanceof RuntimeDirError)) throw error;
  const { cause } = error;
  const denied = cause instanceof Error && 'code' in cause && (cause.code === 'EACCES' || cause.code === 'EPERM');
  const hint =
    process.geteuid?.() === 0
      ? 'give another one with --runtime-dir'
      : 'run as root, or give one that is yours with --runtime-dir and --state-dir';
  context.complain(`${error.message}; ${hint}`);
  return denied ? EXIT.notPermitted : EXIT.cannotCreate;
}
