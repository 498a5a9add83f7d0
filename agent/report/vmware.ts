/**
 * VMware: the answer as guestinfo variables of the virtual machine (`info-set`), which the site reads from its extra
 * configuration. They outlive a reboot of the guest: what a former boot has said is taken away at the start.
 */
import type { Reporter, ReporterEnvironment } from './reporter.ts';
import { openSourceValues } from './values.ts';

export const openGuestInfo = (environment: ReporterEnvironment): Reporter =>
  openSourceValues('vmware', 'vmware', environment);
