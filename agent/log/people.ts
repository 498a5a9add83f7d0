/** One log line for a person at a terminal: `21:46:40.123 WARN  source failed  event=source_failed source=ec2`. */
import { escapeLine } from '../escape.ts';

/** Nobody reads further on a terminal; the JSON log has it all. */
const LONGEST_VALUE = 400;

/** What every line has and what is shown in its own place. */
const SHOWN_APART = new Set(['level', 'time', 'pid', 'msg']);

/** From a pino JSON line. What is no JSON object is passed on, escaped: a line is never lost for its form. */
export function formatForPeople(line: string): string {
  const fields = parse(line);
  if (fields === undefined) return `${escapeLine(line.trimEnd())}\n`;
  const time = typeof fields['time'] === 'string' ? fields['time'].slice(11, 23) : '';
  const level = String(fields['level'] ?? '')
    .toUpperCase()
    .padEnd(5);
  const rest = Object.entries(fields)
    .filter(([key]) => !SHOWN_APART.has(key))
    .map(([key, value]) => `${escapeLine(key)}=${show(value)}`);
  const message = escapeLine(String(fields['msg'] ?? ''));
  return `${[`${escapeLine(time)} ${escapeLine(level)} ${message}`, ...rest].join('  ').trimEnd()}\n`;
}

function parse(line: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}

function show(value: unknown): string {
  const isError = typeof value === 'object' && value !== null && 'message' in value && 'stack' in value;
  const text = isError ? String(value.message) : typeof value === 'string' ? value : JSON.stringify(value);
  const safe = escapeLine(text.length > LONGEST_VALUE ? `${text.slice(0, LONGEST_VALUE)}…` : text);
  return /^[^\s"=]+$/.test(safe) ? safe : JSON.stringify(safe).replaceAll('\\\\u', '\\u');
}
