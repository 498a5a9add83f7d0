/** The program, the units and all that goes with them as the packages lay them out, put into the container by hand. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Bed, NODE } from './bed.ts';

const PACKAGING = fileURLToPath(new URL('../../packaging/', import.meta.url));
const UNITS = path.join(PACKAGING, 'systemd');

/** Every unit of ours, by its name; instances of templates. */
export const UNIT_NAMES = fs
  .readdirSync(UNITS)
  .filter((name) => /\.(service|socket)$/.test(name))
  .map((name) => name.replace('@.', '@1.'))
  .sort();

/** A file of packaging/systemd. */
export const shipped = (name: string): string => fs.readFileSync(path.join(UNITS, name), 'utf8');

/** Installs, enables, and reads it all; starts nothing. */
export async function install(bed: Bed): Promise<void> {
  const tree = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-tree-'));
  try {
    execFileSync(process.execPath, [path.join(PACKAGING, 'contents.mjs'), 'node', 'deb', tree]);
    execFileSync('cp', ['-r', '--preserve=mode', `${tree}/.`, bed.path('/')]);
  } finally {
    fs.rmSync(tree, { recursive: true });
  }
  await must(bed, ['ln', '-sf', NODE, '/usr/bin/node']);
  await must(bed, ['systemd-sysusers']);
  await must(bed, ['systemd-tmpfiles', '--create', '/usr/lib/tmpfiles.d/mjf-agent.conf']);
  await bed.systemctl('daemon-reload');
  await bed.systemctl('enable', '-q', 'mjf-agent.service');
}

/** Its standard output; throws where it fails. */
export async function must(bed: Bed, command: readonly string[]): Promise<string> {
  const { code, out, err } = await bed.exec(command);
  if (code !== 0) throw new Error(`${command.join(' ')}: ${code} ${err}${out}`);
  return out;
}
