/** The configuration of files, variables and flags as a test writes them down. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type Config, type ConfigFlags, describeProblem, loadConfig } from '../../agent/config.ts';

export interface Given {
  readonly files?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly flags?: ConfigFlags;
  /** Name below the temporary directory to be given as --config. */
  readonly file?: string;
}

/** Loads it from a private directory; names in messages are relative to that. */
export async function load(given: Given) {
  const etcDir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-config-'));
  try {
    for (const [name, text] of Object.entries(given.files ?? {})) {
      fs.mkdirSync(path.dirname(path.join(etcDir, name)), { recursive: true });
      fs.writeFileSync(path.join(etcDir, name), text);
    }
    const file = given.file === undefined ? {} : { file: path.join(etcDir, given.file) };
    const result = await loadConfig({ ...file, etcDir, env: given.env ?? {}, flags: given.flags ?? {} });
    const relative = (text: string) => text.replaceAll(`${etcDir}/`, '');
    return result.ok
      ? {
          config: result.config,
          warnings: result.warnings.map(relative),
          files: result.files.map(relative),
          problems: [],
        }
      : { config: undefined, warnings: [], files: [], problems: result.problems.map(describeProblem).map(relative) };
  } finally {
    fs.rmSync(etcDir, { recursive: true });
  }
}

/** What is right, without a problem. */
export async function loadGood(given: Given): Promise<Config> {
  const { config, problems } = await load(given);
  assert.deepEqual(problems, []);
  assert.ok(config);
  return config;
}

export const toml = (text: string): Given => ({ files: { 'config.toml': text } });
