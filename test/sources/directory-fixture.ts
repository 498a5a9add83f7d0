/** A temporary root, a source on it and a log that can be read: what every test of the directory source needs. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { pino } from 'pino';
import type { Answer, FeatureReading, Side } from '../../agent/lifetime/types.ts';
import { type DirectoryConfig, directorySource } from '../../agent/sources/directory.ts';
import { NO_FACTS } from '../../agent/sources/facts.ts';
import type { ReadResult, Source, SourceEnvironment } from '../../agent/sources/source.ts';

export interface LogLine {
  readonly event: string;
  readonly level: number;
}

export interface Fixture {
  readonly root: string;
  readonly runtimeDir: string;
  readonly log: readonly LogLine[];
  /** Absolute path below the root. */
  at(...parts: readonly string[]): string;
  /** Makes directories and writes as a careful host does: beside, then rename. */
  write(file: string, content: string | Buffer): void;
  source(config?: DirectoryConfig, env?: SourceEnvironment['env']): Source;
  environment(env?: SourceEnvironment['env']): SourceEnvironment;
  /** Closes all sources and removes everything. */
  remove(): void;
}

export const readerSelf = {
  command: process.execPath,
  args: [
    '--import',
    pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href,
    fileURLToPath(new URL('reader-entry.ts', import.meta.url)),
  ],
};

export function createFixture(): Fixture {
  const root = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-directory-')));
  const runtimeDir = path.join(root, 'run/mjf-agent');
  const log: LogLine[] = [];
  const logger = pino({ level: 'debug' }, { write: (line: string) => void log.push(JSON.parse(line)) });
  const sources: Source[] = [];
  const at = (...parts: readonly string[]) => path.join(root, ...parts);
  const environment = (env: SourceEnvironment['env'] = {}): SourceEnvironment => ({
    root,
    runtimeDir,
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...env },
    log: logger,
    firstBootMs: 0,
    facts: NO_FACTS,
    pointers: {},
    self: readerSelf,
  });
  return {
    root,
    runtimeDir,
    log,
    at,
    environment,
    write(file, content) {
      const target = at(file);
      fs.mkdirSync(path.dirname(target), { recursive: true });
      const beside = path.join(path.dirname(target), `.${path.basename(target)}.tmp`);
      fs.writeFileSync(beside, content);
      fs.renameSync(beside, target);
    },
    source(config = {}, env = {}) {
      const [source] = directorySource.create(config, environment(env));
      assert.ok(source);
      sources.push(source);
      return source;
    },
    remove() {
      for (const source of sources) source.close?.();
      fs.rmSync(root, { recursive: true, force: true });
    },
  };
}

export function read(source: Source): Promise<ReadResult> {
  return source.read({ signal: new AbortController().signal, fresh: false });
}

/** The answer of a reading that must be one. */
export async function answerOf(source: Source): Promise<Answer> {
  const result = await read(source);
  assert.equal(result.outcome, 'answer');
  assert.ok(result.outcome === 'answer');
  return result.answer;
}

/** One side of an answer that must have it. */
export async function sideOf(source: Source, side: Side = 'machine'): Promise<FeatureReading> {
  const reading = (await answerOf(source))[side];
  assert.ok(reading, `no ${side} side in the answer`);
  return reading;
}

export function present(value: string): { is: 'present'; value: string } {
  return { is: 'present', value };
}
export function unknown(error: string): { is: 'unknown'; error: string } {
  return { is: 'unknown', error };
}
