/**
 * A reporter for what went wrong, and nothing else: once at the end, where it is still on the screen when thousands of lines
 * have gone by. `test/run.mjs` uses it beside the usual one.
 */
export default async function* failures(events) {
  const failed = [];
  for await (const { type, data } of events) {
    // A suite fails because of what is in it: that is listed itself.
    if (type !== 'test:fail' || data.details?.error?.failureType === 'subtestsFailed') continue;
    failed.push(data);
  }
  for (const { name, file, line, details } of failed) {
    const { error } = details;
    const cause = error?.cause ?? error;
    yield `FAILED ${file ?? ''}${line === undefined ? '' : `:${line}`}: ${name} (${Math.round(details.duration_ms)} ms)\n`;
    yield `${String(cause?.stack ?? cause).replace(/^/gm, '    ')}\n`;
  }
}
