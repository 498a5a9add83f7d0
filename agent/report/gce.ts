/**
 * Google Compute Engine: the answer as guest attributes, which whoever may describe the instance reads (`gcloud compute
 * instances get-guest-attributes`). Most instances have them turned off, and that is no fault of theirs.
 */
import type { Reporter, ReporterEnvironment } from './reporter.ts';
import { openSourceValues } from './values.ts';

export const openGuestAttributes = (environment: ReporterEnvironment): Reporter =>
  openSourceValues('gce', 'gce', environment);
