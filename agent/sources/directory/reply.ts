/** What the reader child may answer, checked: a process that read garbage for us is no more to be trusted than the garbage. */
import type { Reading } from '../../lifetime/types.ts';
import type { ReaderReply } from './reader-main.ts';
import type { DirectoryReading } from './scan.ts';

/** The reply in one line, or undefined when it is none. */
export function parseReply(line: string): ReaderReply | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (!isRecord(value)) return undefined;
  if (value['ready'] === true) return { ready: true };
  const { id, reading } = value;
  return typeof id === 'number' && isDirectoryReading(reading) ? { id, reading } : undefined;
}

function isDirectoryReading(value: unknown): value is DirectoryReading {
  if (!isRecord(value)) return false;
  const texts = (...names: readonly string[]) => names.every((name) => typeof value[name] === 'string');
  switch (value['kind']) {
    case 'read':
      return (
        texts('channel') &&
        typeof value['complete'] === 'boolean' &&
        typeof value['ignored'] === 'number' &&
        isRecord(value['keys']) &&
        Object.values(value['keys']).every(isReading)
      );
    case 'missing':
    case 'own_output':
      return texts('path');
    case 'foreign':
      return texts('path', 'mountPoint', 'fsType');
    case 'failed':
      return texts('code', 'detail');
    default:
      return false;
  }
}

function isReading(value: unknown): value is Reading<string> {
  if (!isRecord(value)) return false;
  if (value['is'] === 'present') return typeof value['value'] === 'string';
  if (value['is'] === 'unknown') return typeof value['error'] === 'string';
  return value['is'] === 'absent' || value['is'] === 'negative';
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
