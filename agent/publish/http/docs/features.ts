/** The key directories, for the API document. */
import type { RouteDoc } from '../route-doc.ts';

const TEXT = 'text/plain';
export type Directory = 'machinefeatures' | 'jobfeatures' | 'jobstatus';

const WHAT: Readonly<Record<Directory, string>> = {
  machinefeatures:
    '`$MACHINEFEATURES`: `total_cpu`, `hs06`, `shutdowntime`, `grace_secs` and what else the host tells.',
  jobfeatures:
    '`$JOBFEATURES`: `allocated_cpu`, `shutdowntime_job`, `jobstart_secs`, `wall_limit_secs`, `max_rss_bytes` and others.',
  jobstatus:
    "The machine's answer to its site, like a feature directory: `can_terminate` (`1` or `0`), `can_terminate_at`, `must_not_terminate_until`, `progress`. Empty where no payload has ever lived.",
};
/** A key of each, with its value in the examples; the instants are any. */
const EXAMPLES: Readonly<Record<Directory, readonly [listing: string, key: string, value: string]>> = {
  machinefeatures: ['grace_secs\nhs06\nshutdowntime\ntotal_cpu\n', 'total_cpu', '8\n'],
  jobfeatures: ['allocated_cpu\njob_id\njobstart_secs\nshutdowntime_job\n', 'job_id', 'vm-17\n'],
  jobstatus: ['can_terminate\nmust_not_terminate_until\nprogress\n', 'can_terminate', '0\n'],
};
/** Proposed by whoever registered the payload of the examples. */
export const EXAMPLE_TOKEN = '00112233445566778899aabbccddeeff';

const unknownView = {
  name: 'no_view',
  summary: 'There is no such view, or not any more',
  status: 404,
  answer: '',
} as const;

export function listingDoc(directory: Directory, ofPayload = false): RouteDoc {
  const [listing] = EXAMPLES[directory];
  const token = ofPayload ? { with: { token: EXAMPLE_TOKEN } } : {};
  return {
    id: `${ofPayload ? 'listPayload' : 'list'}${capital(directory)}`,
    tag: 'features',
    summary: ofPayload ? `Keys of ${directory} as one payload sees them` : `Keys of ${directory}, one a line`,
    description: WHAT[directory],
    requestHeaders: ['If-None-Match'],
    answers: {
      200: {
        says: 'Names of keys, one a line; nothing where there are none',
        type: TEXT,
        headers: ['ETag', 'Cache-Control'],
      },
      304: { says: 'Unchanged', headers: ['ETag', 'Cache-Control'] },
      ...(ofPayload && { 404: { says: 'No such view; the text is empty', type: TEXT, headers: ['Cache-Control'] } }),
    },
    examples: [
      { name: 'keys', summary: 'What is known', ...token, status: 200, answer: listing },
      ...(ofPayload ? [{ ...unknownView, with: { token: 'ffffffffffffffffffffffffffffffff' } }] : []),
    ],
  };
}

export function valueDoc(directory: Directory, ofPayload = false): RouteDoc {
  const [, key, value] = EXAMPLES[directory];
  const token = ofPayload ? { token: EXAMPLE_TOKEN } : {};
  const mayBeDated = !ofPayload && directory !== 'jobstatus';
  return {
    id: `get${ofPayload ? 'Payload' : ''}${capital(directory)}Value`,
    tag: 'features',
    summary: ofPayload ? `One value of ${directory} as one payload sees it` : `One value of ${directory}`,
    description:
      'The value and a newline; numbers in decimal, times as whole UNIX seconds. What is not known, and a shutdown that is not foreseen, is 404 with an empty text.',
    requestHeaders: ['If-None-Match', ...(mayBeDated ? (['If-Modified-Since'] as const) : [])],
    answers: {
      200: {
        says: 'The value and a newline',
        type: TEXT,
        headers: ['ETag', 'Cache-Control', ...(mayBeDated ? (['Last-Modified'] as const) : [])],
      },
      304: {
        says: 'Unchanged',
        headers: ['ETag', 'Cache-Control', ...(mayBeDated ? (['Last-Modified'] as const) : [])],
      },
      404: { says: 'Not known, or none foreseen; the text is empty', type: TEXT, headers: ['Cache-Control'] },
    },
    examples: [
      { name: key, summary: 'A value that is known', with: { ...token, key }, status: 200, answer: value },
      {
        name: 'unknown',
        summary: 'A key that nobody has told',
        with: { ...token, key: 'hepscore23' },
        status: 404,
        answer: '',
      },
      {
        name: 'unchanged',
        summary: 'With the ETag of the last answer',
        with: { ...token, key, 'If-None-Match': '"KpJVwYrkUtRbEcTEuWUA0g"' },
        status: 304,
      },
    ],
  };
}

const capital = (word: string): string => `${word.charAt(0).toUpperCase()}${word.slice(1)}`;
