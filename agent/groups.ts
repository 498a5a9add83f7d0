/** The operator's group, by name or number (`admin_group`). */
import fs from 'node:fs';
import path from 'node:path';
import type { Logger } from 'pino';

/**
 * The option for the admin socket; empty without a group, or where the group does not exist: then root alone is operator,
 * and the log says so. Reads /etc/group, as no other source of groups is within reach of a program without native code.
 */
export function groupOption(name: string | null, root: string, log: Logger): { readonly adminGroupId?: number } {
  if (name === null) return {};
  if (/^\d+$/.test(name)) return { adminGroupId: Number(name) };
  try {
    const lines = fs.readFileSync(path.join(root, 'etc/group'), 'utf8').split('\n');
    const id = Number(lines.find((line) => line.startsWith(`${name}:`))?.split(':')[2] ?? Number.NaN);
    if (Number.isInteger(id)) return { adminGroupId: id };
  } catch {
    // Told below like a group that is not there.
  }
  log.warn(
    { event: 'admin_group_unknown', group: name },
    `there is no group ${name}: the admin socket is for root alone`,
  );
  return {};
}
