/**
 * What a site may write as a cron expression, for `poll` of every source and for the windows of `schedule`. The shape is
 * told at once; node-cron, which judges the fields, is large and is loaded only where there is an expression.
 */

/** Minutes to days of the week, with seconds in front where six are given. */
const SHAPE = /^\S+(\s+\S+){4,5}$/;
const FIELDS: Readonly<Record<string, string>> = {
  second: 'seconds from 0 to 59',
  minute: 'minutes from 0 to 59',
  hour: 'hours from 0 to 23',
  dayOfMonth: 'days of the month from 1 to 31',
  month: 'months from 1 to 12',
  dayOfWeek: 'days of the week from 0 to 7 (0 and 7 are Sunday)',
};

/** What an expression names, field by field; the days may also be words such as `5L`. */
export interface CronFields {
  readonly second: readonly number[];
  readonly minute: readonly number[];
  readonly hour: readonly number[];
  readonly dayOfMonth: readonly (number | string)[];
  readonly month: readonly number[];
  readonly dayOfWeek: readonly (number | string)[];
}

/** Five or six fields, whatever stands in them. */
export const isCronShaped = (text: string): boolean => SHAPE.test(text.trim());

/** Loads node-cron (10 MB). @throws RangeError with a sentence that says what would be right. */
export async function cronFields(expression: string): Promise<CronFields> {
  const cron = await import('node-cron');
  // It also takes words such as @daily; the configuration does not.
  if (!isCronShaped(expression)) throw new RangeError(`expected five or six fields, got ${JSON.stringify(expression)}`);
  const { valid, fields, errors } = cron.validateDetailed(expression);
  if (!valid || fields === undefined) throw new RangeError(sentence(expression, errors));
  return fields;
}

/**
 * Whether the driver can read a source by it: node-cron has the next two times, as the driver asks it for.
 * @throws RangeError with a sentence that says what would be right.
 */
export async function checkCronPoll(expression: string): Promise<void> {
  await cronFields(expression);
  const cron = await import('node-cron');
  const task = cron.createTask(expression, () => undefined);
  try {
    task.getNextRuns(2);
  } catch {
    throw new RangeError(`expected a time that comes, got ${JSON.stringify(expression)}, which never does`);
  } finally {
    void task.destroy();
  }
}

function sentence(
  expression: string,
  errors: readonly { readonly field: string; readonly value?: string; readonly message: string }[],
): string {
  const wrong = errors.map(({ field, value, message }) => {
    const range = FIELDS[field];
    // Each field by itself is possible: 31 February.
    if (range === undefined || /impossible/.test(message))
      return `days that these months have, got ${JSON.stringify(value ?? '')}`;
    return `${range}, got ${JSON.stringify(value ?? '')}`;
  });
  return `expected ${wrong.join('; ') || 'a cron expression'} in ${JSON.stringify(expression)}`;
}
