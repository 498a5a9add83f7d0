/** The agent's own files at the site, as bytes. */
import os from 'node:os';
import { lifetimeDocument } from '../lifetime/document.ts';
import type { FinalWord } from '../lifetime/types.ts';
import type { Publication } from '../ports.ts';

/** The last word (mjf.md, "VM to site"). Vac and Vcycle look for this name. */
export const MESSAGE_FILE = 'shutdown_message';
/** The machine's answer (S5.1), for a site that reads files. */
export const ANSWER_FILE = 'can_terminate.json';

/** One line without a newline at its end; sites read the code and stop at the first blank. */
export const messageOf = ({ code, text }: FinalWord): string => `${code} ${text.replace(/[\r\n]+/g, ' ')}`.trimEnd();

/** As in `/v1/lifetime`, and no more than concerns whoever decides: no names, hosts or numbers of processes. */
const TOLD = ['can_terminate', 'phase', 'deadline', 'termination_allowed', 'payloads'] as const;

/** One line of JSON. */
export function answerOf({ snapshot, job }: Publication): string {
  const document = lifetimeDocument(snapshot);
  const told = Object.fromEntries(TOLD.map((key) => [key, document[key]]));
  return `${JSON.stringify({ ...told, job_id: job['job_id'] ?? null })}\n`;
}

/** Like /proc/loadavg and /proc/uptime, one line each: as Vac's own hooks write it. */
export const heartbeatText = (): Buffer =>
  Buffer.from(
    `${os
      .loadavg()
      .map((load) => load.toFixed(2))
      .join(' ')}\n${os.uptime()}\n`,
  );
