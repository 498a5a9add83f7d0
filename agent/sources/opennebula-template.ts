/**
 * A machine's own words as lines of an OpenNebula template. Within double quotes its parser knows one escape, `\"`; any other
 * backslash stands for itself, so that one at the end of a value would take the closing quote along and read on into the next
 * line. A line with `]]>` is refused, since the template is kept as XML.
 */
import { toldValues } from './told-values.ts';

/** Not one that is read as a feature (site-keys.ts): our own words must not come back as the host's. */
const PREFIX = 'JOBSTATUS_';

/** `JOBSTATUS_KEY = "VALUE"`, one a line; null becomes the empty text, since OneGate takes no name away from an append. */
export function templateLines(values: Readonly<Record<string, string | null>>): string {
  return toldValues(values)
    .map(([name, value]) => `${PREFIX}${name.toUpperCase()} = "${quoted(value ?? '')}"\n`)
    .join('');
}

/** What cannot be written is kept apart by a blank: the word must reach the site, and a blank hides nothing of it. */
const quoted = (value: string): string => value.replaceAll(']]>', ']] >').replace(/\\$/, '\\ ').replaceAll('"', '\\"');
