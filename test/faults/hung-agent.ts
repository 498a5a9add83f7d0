/**
 * An agent reduced to its directory source, as its own process: reads a share once, tells what became of it and of
 * everything else meanwhile, and leaves by `process.exit`, which must return. Arguments: ROOT, DIRECTORY.
 */
import fs from 'node:fs';
import path from 'node:path';
import { pino } from 'pino';
import { directorySource } from '../../agent/sources/directory.ts';
import { NO_FACTS } from '../../agent/sources/facts.ts';
import { SourceError } from '../../agent/sources/source.ts';
import { readerSelf } from '../sources/directory-fixture.ts';

/** More than the thread pool has threads: one blocked access too many would show. */
const FILE_READS = 8;

export interface HungReport {
  readonly outcome: string;
  /** Of a 20 ms timer while the reading was under way. */
  readonly ticks: number;
  /** Reads of another file that finished before the reading did. */
  readonly files: number;
}

async function report(root: string, directory: string): Promise<HungReport> {
  const [source] = directorySource.create(
    { machinefeatures: directory },
    {
      root: '/',
      runtimeDir: path.join(root, 'run'),
      env: process.env,
      log: pino({ level: 'silent' }),
      firstBootMs: 0,
      facts: NO_FACTS,
      pointers: {},
      self: readerSelf,
    },
  );
  if (source === undefined) throw new Error('no source');
  source.watch?.(() => {}, new AbortController().signal);
  let ticks = 0;
  let files = 0;
  const timer = setInterval(() => {
    ticks += 1;
  }, 20);
  const reading = source.read({ signal: new AbortController().signal, fresh: false }).then(
    (result) => result.outcome as string,
    (error) => (error instanceof SourceError ? error.code : String(error)),
  );
  for (let i = 0; i < FILE_READS; i += 1) {
    fs.readFile(path.join(root, 'other'), () => {
      files += 1;
    });
  }
  const outcome = await reading;
  const counts = { ticks, files };
  clearInterval(timer);
  return { outcome, ...counts };
}

const [, , root = '', directory = ''] = process.argv;
report(root, directory).then(
  (result) => {
    fs.writeSync(1, JSON.stringify(result));
    process.exit(0);
  },
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
