/**
 * How long the guard (mjf-agent-guard.service) holds up a shutdown of the machine for its payloads. Where it stands, what logind
 * grants is not all the time there is (SYSTEMS.md, "systemd").
 */
import fs from 'node:fs';
import path from 'node:path';

/** RuntimeDirectory= of its unit, which root alone can make; gone with the guard. */
const FILE = 'run/mjf-agent-guard/seconds';
/** systemd gives a shutdown up after 30 min (poweroff.target). */
const MOST_SECS = 1800;

/** null: there is no guard. Never throws. */
export function guardTimeMs(root: string): number | null {
  try {
    const text = fs.readFileSync(path.join(root, FILE), 'latin1').trim();
    return /^\d{1,9}$/.test(text) ? Math.min(MOST_SECS, Number(text)) * 1000 : null;
  } catch {
    return null;
  }
}
