/** Which settings a running agent cannot take over when it reads its configuration again (SIGHUP). */
import type { Config } from './types.ts';

/** What is opened once, by the names of the configuration; a name stands for everything below it. */
export const fixedAtStart = (config: Config): Readonly<Record<string, unknown>> => ({
  runtime_dir: config.runtimeDir,
  state_dir: config.stateDir,
  journal_dir: config.journalDir,
  listen: config.listen,
  admin_group: config.adminGroup,
  'publish.shutdown_time_file': config.publish.shutdownTimeFile,
  'publish.link_etc': config.publish.linkEtc,
  hand_socket: config.handSocket,
  report: config.report,
  log: config.log,
});
