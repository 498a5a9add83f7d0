/** Pieces of JSON Schema that several bodies share, each bound with its reason. */

/** Names go to logs and terminals: no control characters. */
export const TEXT_PATTERN = '^[^\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029]*$';
/** Ten years; beyond that a number is a mistake (milliseconds?). */
export const MAX_SECS = 315_360_000;
/** Year 2286 in seconds: rejects milliseconds in place of seconds. */
const MAX_UNIX_SECS = 9_999_999_999;

export const unixSecs = {
  type: 'number',
  exclusiveMinimum: 0,
  maximum: MAX_UNIX_SECS,
  description: 'UNIX seconds',
} as const;

/** In answers. */
export const instantOrNull = { type: ['number', 'null'], description: 'UNIX seconds' } as const;
export const count = { type: 'integer', minimum: 0 } as const;
