/** `mjf-agent probe`: what this machine is, which channels answer, what the agent would do. Changes nothing. */
import pino from 'pino';
import { request } from '../client.ts';
import { systemClock } from '../clock.ts';
import { type Config, loadConfig } from '../config.ts';
import { durationMs } from '../duration.ts';
import { escapeLines } from '../escape.ts';
import { EXIT } from '../exit-codes.ts';
import { hintsOf, isDisappointing } from '../probe/hints.ts';
import { probe } from '../probe/probe.ts';
import type { ProbeReport } from '../probe/types.ts';
import { selfCommand } from '../self.ts';
import { chooseSources } from '../sources/create.ts';
import { readMachineFacts } from '../sources/facts.ts';
import { lookOf } from '../terminal/look.ts';
import { CHANNEL_OPTIONS } from './channel-options.ts';
import { defineCommand, RUNTIME_DIR_OPTION, UsageError } from './command.ts';
import { PROBE_JSON } from './json-help.ts';
import { parseLifetime } from './lifetime-document.ts';
import { explainConfig } from './outcome.ts';
import { probeScreen } from './probe-screen.ts';

const ROOT = '/';
/** Slow metadata services take seconds; a person waits no longer. */
const DEFAULT_TIMEOUT = '10s';
/** The daemon is at hand: it answers in milliseconds, or is not well. */
const DAEMON_TIMEOUT_MS = 2_000;

export const command = defineCommand({
  name: 'probe',
  summary: 'what this machine is, which channels answer, what the agent would do',
  usage: 'probe [--json] [OPTIONS]',
  options: {
    json: { type: 'boolean', description: 'one JSON document, see below' },
    timeout: { type: 'string', value: 'D', description: `for all of it (default ${DEFAULT_TIMEOUT})` },
    ...CHANNEL_OPTIONS,
    ...RUNTIME_DIR_OPTION,
  },
  positionals: { least: 0, most: 0 },
  details: `Reads what "run" with the same options would read, once, and as the user who calls: the daemon's own user may reach
more or less. Changes nothing, listens nowhere, needs no daemon. Every source is asked at the same time.

Exit codes: 0 when a channel of the host answered, or none is configured, detected or broken; 1 when none answers that
should; 78 when the configuration is wrong.`,
  json: { is: 'with --json, one document (UNIX seconds, milliseconds for took_ms)', fields: PROBE_JSON },
  async run(context) {
    const { values } = context;
    const timeoutMs = timeoutOf(values.timeout);
    const { machinefeatures, jobfeatures, joboutputs, config: file } = values;
    const loaded = await loadConfig({
      env: context.env,
      flags: { machinefeatures, jobfeatures, joboutputs, runtimeDir: values['runtime-dir'] },
      ...(file === undefined ? {} : { file }),
    });
    if (!loaded.ok) return explainConfig(loaded.problems, file, context);
    const { config } = loaded;
    const facts = readMachineFacts(ROOT);
    const [found, daemon] = await Promise.all([
      probe({
        config,
        choices: chooseSources(config, { facts }),
        facts,
        clock: systemClock,
        // What sources tell the log, the report says.
        log: pino({ level: 'silent' }),
        env: context.env,
        root: ROOT,
        self: selfCommand(),
        timeoutMs,
      }),
      askDaemon(config, Math.min(timeoutMs, DAEMON_TIMEOUT_MS)),
    ]);
    const { ownOutput: _, ...shown } = found;
    const warnings = loaded.warnings.map((text) => ({ code: 'configuration', text: `${text}.` }));
    const hints = hintsOf(found, daemon, { isRoot: process.geteuid?.() === 0 });
    const report: ProbeReport = { ...shown, daemon, hints: [...warnings, ...hints] };
    context.out(
      values.json
        ? `${escapeLines(JSON.stringify(report, null, 2))}\n`
        : probeScreen(report, systemClock.now().wall, lookOf(process.stdout, context.env)),
    );
    return isDisappointing(found) ? EXIT.failure : EXIT.ok;
  },
});

function timeoutOf(text: string | undefined): number {
  try {
    return durationMs(text ?? DEFAULT_TIMEOUT);
  } catch (error) {
    throw new UsageError(`--timeout: ${(error as Error).message}`);
  }
}

async function askDaemon({ runtimeDir }: Config, timeoutMs: number): Promise<ProbeReport['daemon']> {
  const answer = await request({ channel: 'agent', runtimeDir, method: 'GET', path: '/v1/lifetime', timeoutMs });
  const lifetime = 'unreachable' in answer || answer.status !== 200 ? undefined : parseLifetime(answer.body);
  return { running: lifetime !== undefined, phase: lifetime?.phase ?? null, deadline: lifetime?.deadline ?? null };
}
