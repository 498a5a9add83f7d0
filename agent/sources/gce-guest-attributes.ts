/**
 * The way back on GCE: guest attributes, which the guest writes through its metadata service and the site reads with
 * `gcloud compute instances get-guest-attributes`. They are there only where the project or the instance has switched them on
 * (`enable-guest-attributes=TRUE`); a refusal means that they are not.
 */
import type { GceClient } from './gce-client.ts';
import { SourceError, type WayBack } from './source.ts';
import { toldValues } from './told-values.ts';

/** One namespace, so that a site can ask for all of it at once and nobody else's is touched. */
const NAMESPACE = '/instance/guest-attributes/jobstatus';
/** How the service says that there are no guest attributes here. */
const SWITCHED_OFF: readonly string[] = ['http_403', 'http_404'];

/** One request a value, all at the same time: together they take no longer than the slowest. */
export function guestAttributes(client: Pick<GceClient, 'ask'>): Required<Pick<WayBack, 'tell'>> {
  async function tellOne(name: string, value: string | null, signal: AbortSignal): Promise<void> {
    const path = `${NAMESPACE}/${name}`;
    try {
      if (value === null) {
        // 404: it was not there.
        await client.ask(path, { signal, method: 'DELETE', idle: [204] });
        return;
      }
      const headers = { 'content-type': 'text/plain' };
      const answer = await client.ask(path, { signal, method: 'PUT', headers, body: value });
      if (answer.is === 'absent') throw new SourceError('http_404', `${path}: HTTP status 404`);
    } catch (error) {
      if (error instanceof SourceError && SWITCHED_OFF.includes(error.code))
        throw new SourceError('no_channel', 'guest attributes are switched off (enable-guest-attributes=TRUE)');
      throw error;
    }
  }

  return {
    async tell(values, signal) {
      const told = toldValues(values).map(([name, value]) => tellOne(name, value, signal));
      // Nothing goes on behind the back of who asked.
      for (const outcome of await Promise.allSettled(told)) if (outcome.status === 'rejected') throw outcome.reason;
    },
  };
}
