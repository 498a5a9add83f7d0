/** What the hand may do: its own, root-owned configuration says so, whatever the agent asks for. */
import path from 'node:path';
import { type Config, describeProblem, loadConfig } from '../config.ts';
import { unitNameProblem } from '../payloads/unit-names.ts';
import { ask, type Systemctl } from './systemctl.ts';
import { trusted } from './trust.ts';

/** In the words of the configuration, or a sentence on why it is not believed. Never rejects. */
export async function trustedConfig(
  etcDir: string,
  env: Readonly<Record<string, string | undefined>>,
  owners: ReadonlySet<number>,
): Promise<Config | string> {
  // Directories first: who may write there could exchange a file between our look and our reading.
  for (const dir of [etcDir, path.join(etcDir, 'conf.d')]) {
    const found = trusted(dir, owners);
    if (!found.ok && found.code !== 'not_found') return `the configuration is not root's alone: ${found.detail}`;
  }
  const loaded = await loadConfig({ etcDir, env, flags: {} });
  if (!loaded.ok) return `the configuration is wrong: ${loaded.problems.map(describeProblem)[0] ?? 'no reason given'}`;
  for (const file of loaded.files) {
    const found = trusted(file, owners);
    if (!found.ok) return `the configuration is not root's alone: ${found.detail}`;
  }
  return loaded.config;
}

export const mayPowerOff = ({ stop }: Config): boolean =>
  stop.atDeadline === 'poweroff' || stop.whenDone === 'poweroff';

/**
 * Why these units may not be stopped or started, or null: each must be named by the configuration, or lie below a slice that
 * it names; and none may be one that the machine or the agent needs, whatever the configuration says.
 */
export async function unitsProblem(units: readonly string[], config: Config, how: Systemctl): Promise<string | null> {
  for (const unit of units) {
    const problem = namesProblem(unit);
    if (problem !== null) return problem;
  }
  const unit = await unnamedUnit(units, config, how);
  return unit === null ? null : `the configuration names no [[payload]] unit ${unit}, nor a slice above it`;
}

/** By its name, whatever kind it is: with a socket goes the service that it starts. */
const namesProblem = (unit: string): string | null =>
  unitNameProblem(unit.replace(/\.(socket|path|timer|target|mount|swap)$/, '.service'));

/** The first of `units` that the configuration neither names nor has below a slice that it names; null: there is none. */
async function unnamedUnit(units: readonly string[], config: Config, how: Systemctl): Promise<string | null> {
  const all = config.payloads.flatMap(({ find }) => (find.by === 'unit' ? [fullName(find.unit)] : []));
  // One that may not be a payload opens nothing below it either (system.slice).
  const named = new Set(all.filter((unit) => unitNameProblem(unit) === null));
  const unnamed = units.filter((unit) => !named.has(unit));
  if (unnamed.length === 0) return null;
  // An alias of one of them, or something below a slice: the manager knows.
  const shown = await ask(['show', '--property=Names', '--property=Slice', '--', ...unnamed], how);
  // One block of lines for each, in our order, with an empty line between.
  const blocks = shown.ok ? shown.output.split(/\n\s*\n/) : [];
  return (
    unnamed.find((unit, index) => {
      const properties = propertiesOf(blocks[index] ?? '');
      const names = (properties.get('Names') ?? '').split(' ');
      const slice = properties.get('Slice') ?? '';
      // An alias may hide who it is.
      if (names.some((name) => namesProblem(name) !== null)) return true;
      // Not the manager's word on what was asked for: a block that belongs to another unit proves nothing.
      if (!names.includes(unit)) return true;
      return !names.some((name) => named.has(name)) && ![...named].some((each) => isBelow(slice, each));
    }) ?? null
  );
}

const fullName = (unit: string): string => (/\.[a-z]+$/.test(unit) ? unit : `${unit}.service`);

/** systemd.slice(5): `a-b.slice` lies below `a.slice`. All lies below `-.slice`, so that naming it allows nothing. */
function isBelow(slice: string, named: string): boolean {
  if (!named.endsWith('.slice') || named === '-.slice') return false;
  return slice === named || slice.startsWith(`${named.slice(0, -'.slice'.length)}-`);
}

const propertiesOf = (block: string): ReadonlyMap<string, string> =>
  new Map(
    block.split('\n').map((line): readonly [string, string] => {
      const at = line.indexOf('=');
      return [line.slice(0, at), line.slice(at + 1)];
    }),
  );
