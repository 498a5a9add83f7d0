/** What Azure's `instance/compute` says of the machine itself: its name, its priority and its tags. */
import type { Reading } from '../lifetime/types.ts';
import { PREEMPT_NOTICE_MS } from './azure-events.ts';
import { asList, asRecord, asText, parseJson } from './json.ts';
import type { PartReport } from './parts.ts';
import { siteKeys } from './site-keys.ts';
import { SourceError } from './source.ts';

export interface Compute {
  /** As in `Resources` of events: `vm-17`, `workers_11`. */
  readonly name: string | undefined;
  readonly report: PartReport;
}

/** `Low` is what spot was called before 2019 and still is where it was made so. */
const MAY_BE_EVICTED = new Set(['spot', 'low']);

/** @throws SourceError `bad_json`, `bad_document`. */
export function readCompute(text: string): Compute {
  const document = asRecord(parseJson(text, 'instance/compute'));
  if (document === undefined) throw new SourceError('bad_document', 'instance/compute is no object');
  const evicted = MAY_BE_EVICTED.has(textAt(document, 'priority')?.toLowerCase() ?? '');
  const { machine, job, pointers } = siteKeys(readTags(document));
  return {
    name: textAt(document, 'name'),
    report: {
      machine,
      job,
      pointers,
      others: 'absent',
      whole: ['keys'],
      derived: {
        machine: {
          termination_allowed: reading(evicted ? '1' : undefined),
          grace_secs: reading(evicted ? String(PREEMPT_NOTICE_MS / 1000) : undefined),
        },
        job: { job_id: reading(textAt(document, 'vmId')) },
      },
    },
  };
}

/** The list where there is one: the older string `a:1;b:2` cannot tell a `;` within a value from one between two tags. */
function readTags(document: Readonly<Record<string, unknown>>): readonly (readonly [string, string])[] {
  const list = asList(document['tagsList']);
  if (list !== undefined)
    return list.flatMap((entry) => {
      const [name, value] = [asText(asRecord(entry)?.['name']), asText(asRecord(entry)?.['value'])];
      return name === undefined || value === undefined ? [] : [[name.trim(), value] as const];
    });
  return (textAt(document, 'tags') ?? '').split(';').flatMap((pair) => {
    const [, name, value = ''] = /^([^:]+):(.*)$/s.exec(pair) ?? [];
    return name === undefined ? [] : [[name.trim(), value] as const];
  });
}

/** Not blank, trimmed. */
function textAt(document: Readonly<Record<string, unknown>>, key: string): string | undefined {
  const text = asText(document[key])?.trim();
  return text === '' ? undefined : text;
}

const reading = (value: string | undefined): Reading<string> =>
  value === undefined ? { is: 'absent' } : { is: 'present', value };
