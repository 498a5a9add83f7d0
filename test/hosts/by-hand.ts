/** How a stand-in is played with by hand (`npm run host -- NAME`): what it takes on the command line and on stdin. */
import type { MetadataHost } from './metadata-host.ts';

export interface StandIn {
  /** Lines for the help: options and commands, indented by two. */
  readonly help: string;
  /** Starts it; `args` is what follows the name. Throws with a sentence for a wrong command line. */
  start(args: readonly string[]): Promise<RunningStandIn>;
}

export interface RunningStandIn {
  /** What to tell the person: base URL, and a line of configuration that uses it. */
  readonly greeting: string;
  readonly host: Pick<MetadataHost, 'fault' | 'dropConnections' | 'setClockOffset' | 'close'>;
  /** Obeys one line of stdin; false when it is not understood. `fault`, `drop`, `clock` and `quit` are done before. */
  obey(verb: string, words: readonly string[], line: string): boolean;
}
