/** Reads the configuration files: TOML, bounded, every syntax error with line and column. */
import { constants } from 'node:fs';
import { open, readdir } from 'node:fs/promises';
import path from 'node:path';
import type { Layer, Table } from './merge.ts';
import type { ConfigProblem } from './problem.ts';

/** A hundred times the largest sensible file; keeps a mistaken path from filling memory. */
const LARGEST_FILE_BYTES = 1024 * 1024;

export interface FilesRead {
  readonly files: readonly string[];
  readonly layers: readonly Layer[];
  readonly problems: readonly ConfigProblem[];
}

/**
 * `config.toml` and `conf.d/*.toml` of `etcDir` in the order of their names, or exactly `file` when one is named.
 * What does not exist in `etcDir` is no error; a named file must exist. smol-toml is loaded only for a file that is there.
 */
export async function readConfigFiles(options: {
  readonly file?: string;
  readonly etcDir: string;
}): Promise<FilesRead> {
  const named = options.file !== undefined;
  const layers: Layer[] = [];
  const problems: ConfigProblem[] = [];
  const files: string[] = [];
  const found = named ? { paths: [options.file], problems: [] } : await listFiles(options.etcDir);
  problems.push(...found.problems);
  for (const file of found.paths) {
    const text = await readBounded(file);
    if ('problem' in text) {
      if (text.missing && !named) continue;
      problems.push({ origin: file, key: '', message: text.problem });
      continue;
    }
    files.push(file);
    const parsed = await parseToml(file, text.text);
    if ('message' in parsed) problems.push(parsed);
    else layers.push({ origin: file, kind: 'file', table: parsed.table, checked: false });
  }
  return { files, layers, problems };
}

async function listFiles(
  etcDir: string,
): Promise<{ readonly paths: readonly string[]; readonly problems: readonly ConfigProblem[] }> {
  const main = path.join(etcDir, 'config.toml');
  const directory = path.join(etcDir, 'conf.d');
  try {
    const names = (await readdir(directory)).filter((name) => name.endsWith('.toml') && !name.startsWith('.')).sort();
    return { paths: [main, ...names.map((name) => path.join(directory, name))], problems: [] };
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return { paths: [main], problems: [] };
    return { paths: [main], problems: [{ origin: directory, key: '', message: whyUnreadable(error) }] };
  }
}

async function readBounded(
  file: string,
): Promise<{ readonly text: string } | { readonly problem: string; readonly missing: boolean }> {
  try {
    // O_NONBLOCK: a named pipe in place of the file must not keep the agent from starting.
    const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stat = await handle.stat();
      if (!stat.isFile()) return { problem: 'is not a file', missing: false };
      if (stat.size > LARGEST_FILE_BYTES) return { problem: 'is larger than 1 MiB', missing: false };
      return { text: await handle.readFile('utf8') };
    } finally {
      await handle.close();
    }
  } catch (error) {
    return { problem: whyUnreadable(error), missing: codeOf(error) === 'ENOENT' };
  }
}

/** smol-toml's tables have no prototype, so no key of a file can reach one. */
async function parseToml(file: string, text: string): Promise<{ readonly table: Table } | ConfigProblem> {
  const { parse, TomlError } = await import('smol-toml');
  try {
    return { table: parse(text) };
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // The library adds an excerpt of the file on further lines; line and column say the same in one.
    const message = (error.message.split('\n')[0] ?? '').replace(/^Invalid TOML document: /, '');
    return { origin: file, key: '', message: `not valid TOML: ${message}`, line: error.line, column: error.column };
  }
}

function whyUnreadable(error: unknown): string {
  const code = codeOf(error);
  if (code === 'ENOENT') return 'does not exist';
  if (code === 'EACCES' || code === 'EPERM') return 'may not be read by this user';
  if (code === 'EISDIR') return 'is not a file';
  return `cannot be read (${code ?? String(error)})`;
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
