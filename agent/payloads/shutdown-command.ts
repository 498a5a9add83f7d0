/** The host's feature `shutdown_command` (HSF-TN-2016-02, mjf.md), where whoever says it may name a program of this machine. */
import path from 'node:path';
import type { Config } from '../config/types.ts';
import type { Pointers, Snapshot } from '../lifetime/types.ts';

/**
 * The operator, and a host that mounts a directory. Never what comes over the network: neither a metadata service nor `mjf`,
 * whose answers may be plain HTTP that anybody on the way can write (that its URL is https is not known here).
 */
const TRUSTED_SOURCES: ReadonlySet<string> = new Set(['static', 'directory']);

/** The feature's text; null: there is none, or nobody who may say it did. `root`: where `/etc` begins. */
export function shutdownCommandOf(
  { machine, pointers }: Pick<Snapshot, 'machine' | 'pointers'>,
  { source }: Pick<Config, 'source'>,
  root: string,
): string | null {
  const command = machine['shutdown_command'];
  if (command === undefined || !TRUSTED_SOURCES.has(command.source)) return null;
  return command.source === 'directory' && mayBePointed(pointers, source, root) ? null : command.value;
}

/**
 * Whether it may be that a metadata service chose the directory of the machine's features: then what stands there is worth no
 * more than its own word. Rather once too often: the machine is switched off by systemd then.
 */
function mayBePointed({ machinefeatures }: Pointers, source: Config['source'], root: string): boolean {
  const table = source['directory'] as { readonly machinefeatures?: string } | undefined;
  if (machinefeatures?.startsWith('/') !== true || table?.machinefeatures !== undefined) return false;
  const usual = ['etc', 'run/mjf-host'].map((dir) => path.join(root, dir, 'machinefeatures'));
  return !usual.includes(path.resolve('/', machinefeatures));
}
