/**
 * How this process recognises its own words when they come back to it, by whatever name, address, zone, forwarded port or
 * proxy: an id that no other process has, on every HTTP answer that it gives and on every report that it sends.
 */
import { randomUUID } from 'node:crypto';

/** Header of answers and of reports. In lower case, as Node hands headers over. */
export const INSTANCE_HEADER = 'mjf-agent-instance';

/** Of this process, from its start to its end. Another agent's output is a channel like any other; only our own is not. */
export const instanceId: string = randomUUID();
