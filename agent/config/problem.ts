/** What is wrong with a configuration, and how it is told to a person. */

export interface ConfigProblem {
  /** File, environment variable or flag that the wrong value came from; null when it is nobody's alone. */
  readonly origin: string | null;
  /** `stop.steps[0].signal`; empty for a fault of the whole file. */
  readonly key: string;
  readonly message: string;
  /** For syntax errors, from 1. */
  readonly line?: number;
  readonly column?: number;
}

/** `/etc/mjf-agent/config.toml:3:5: unfinished array` or `--listen: listen: expected …`: one line, no line feed. */
export function describeProblem(problem: ConfigProblem): string {
  const position = problem.line === undefined ? '' : `:${problem.line}:${problem.column ?? 1}`;
  const origin = problem.origin === null ? [] : [`${problem.origin}${position}`];
  return [...origin, ...(problem.key === '' ? [] : [problem.key]), problem.message].join(': ');
}

/** Path of keys and list positions → `stop.steps[0].signal`; keys that are no bare TOML key are quoted. */
export function keyText(path: readonly (string | number)[]): string {
  return path
    .map((part) => {
      if (typeof part === 'number') return `[${part}]`;
      return `.${/^[A-Za-z0-9_-]+$/.test(part) ? part : JSON.stringify(part)}`;
    })
    .join('')
    .replace(/^\./, '');
}

/** The longest value that a message repeats. */
const LONGEST_SHOWN = 80;

/** A wrong value as a message shows it: short, and without the credentials that someone may have put into a URL. */
export function showValue(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (value instanceof Date) return 'a date';
  if (typeof value === 'object' && value !== null) return 'a table';
  const text = JSON.stringify(typeof value === 'string' ? value.replace(/\/\/[^/@]*@/, '//…@') : String(value));
  const shown = text.length > LONGEST_SHOWN ? `${text.slice(0, LONGEST_SHOWN)}…"` : text;
  return typeof value === 'string' ? shown : String(value);
}
