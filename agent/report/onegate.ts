/**
 * OpenNebula: the answer in the user template of the virtual machine, where its owner and the site's scripts read it, as
 * `READY=YES` is read (platforms.md, "OpenNebula"). OneGate is spoken to by the source, which has the token.
 */
import type { Reporter, ReporterEnvironment } from './reporter.ts';
import { openSourceValues } from './values.ts';

export const openOneGate = (environment: ReporterEnvironment): Reporter =>
  openSourceValues('onegate', 'opennebula', environment);
