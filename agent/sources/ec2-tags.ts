/**
 * Tags of the instance as Machine/Job Features (facts "platforms", `tags/instance/KEY`; SEMANTICS S2.2): the site's keys and
 * the pointers. Tags can change while the machine runs; that the first pointers count is the heart's affair.
 */
import { KNOWN_INPUT_KEYS } from '../lifetime/features.ts';
import { POINTER_NAMES, type Reading } from '../lifetime/types.ts';
import { type Ask, dated } from './ec2-ask.ts';
import type { MetadataAnswer } from './metadata.ts';
import type { Part } from './parts.ts';
import { siteKeys, wantedNames } from './site-keys.ts';
import { type ReadContext, SourceError } from './source.ts';

const PATH = 'tags/instance';
/** The service lists with and without; imitations know one of the two. */
const LISTINGS = [`${PATH}/`, PATH];
/** An instance can have fifty tags. */
const MAX_NAMES = 64;
/** Beside the other endpoints; connections are bounded (ec2.ts). */
export const TAGS_IN_FLIGHT = 4;
/** Where nothing is listed: asked for one by one … */
const KNOWN_NAMES = [...new Set([...POINTER_NAMES, ...KNOWN_INPUT_KEYS.machine, ...KNOWN_INPUT_KEYS.job])];
/** … but again and again only what moves a deadline, besides what was found. */
const MOVING_NAMES = ['shutdowntime', 'shutdowntime_job'];

export function tagsPart(ask: Ask, everyMs: number): Part {
  /** What was ever found without a listing; undefined before the first look at all of them. */
  let found: ReadonlySet<string> | undefined;

  function namesFrom(listing: MetadataAnswer): readonly string[] {
    if (listing.is === 'text') return wantedNames(listed(listing.text), MAX_NAMES);
    return found === undefined ? KNOWN_NAMES : [...new Set([...MOVING_NAMES, ...found])];
  }

  return {
    name: PATH,
    everyMs,
    async read(context) {
      const listing = await firstListing(ask, context);
      const tags = await askAll(ask, namesFrom(listing), context);
      const failed = tags.filter(({ answer }) => answer instanceof SourceError);
      const [first] = failed;
      if (first?.answer instanceof SourceError && failed.length === tags.length) throw first.answer;
      const present = tags.flatMap(({ name, answer }) =>
        !(answer instanceof SourceError) && answer.is === 'text' ? [[name, answer.text] as const] : [],
      );
      // Only a look at all of them may narrow what is asked next. What was found and is not there now is asked for again:
      // its absence is not proved yet (S1.6).
      if (listing.is === 'text') found = undefined;
      else if (found !== undefined || failed.length === 0)
        found = new Set([...(found ?? []), ...present.map(([name]) => name)]);
      const unclear = failed.flatMap(({ name, answer }) =>
        answer instanceof SourceError ? [{ keys: siteKeys([[name, '']]), error: answer.code }] : [],
      );
      const { machine, job, pointers } = siteKeys(present);
      return dated(listing, {
        machine: {
          ...Object.assign({}, ...unclear.map(({ keys, error }) => unknown(keys.machine, error))),
          ...machine,
        },
        job: { ...Object.assign({}, ...unclear.map(({ keys, error }) => unknown(keys.job, error))), ...job },
        pointers,
        others: 'absent',
        whole: ['keys'],
      });
    },
  };
}

/** 404 = tags are not offered here, or not as a list. */
async function firstListing(ask: Ask, context: ReadContext): Promise<MetadataAnswer> {
  let answer: MetadataAnswer | undefined;
  for (const path of LISTINGS) {
    answer = await ask(path, context);
    if (answer.is === 'text') break;
  }
  if (answer === undefined) throw new SourceError('internal', 'no listing was asked for');
  return answer;
}

/** @throws SourceError `bad_answer`: a web page is no list without our keys. */
function listed(text: string): readonly string[] {
  if (/[<>]/.test(text)) throw new SourceError('bad_answer', `${PATH}/ is not a list`);
  return [...new Set(text.split(/\r?\n/).filter((line) => line !== ''))];
}

interface Tag {
  readonly name: string;
  readonly answer: MetadataAnswer | SourceError;
}

async function askAll(ask: Ask, names: readonly string[], context: ReadContext): Promise<readonly Tag[]> {
  const tags: Tag[] = [];
  const left = [...names];
  async function askNext(): Promise<void> {
    for (let name = left.shift(); name !== undefined; name = left.shift()) {
      const path = `${PATH}/${encodeURIComponent(name)}`;
      const answer = await ask(path, context).catch((error: unknown) => {
        if (error instanceof SourceError) return error;
        throw error;
      });
      tags.push({ name, answer });
    }
  }
  await Promise.all(Array.from({ length: TAGS_IN_FLIGHT }, askNext));
  return tags;
}

const unknown = (
  keys: Readonly<Record<string, Reading<string>>>,
  error: string,
): Readonly<Record<string, Reading<string>>> =>
  Object.fromEntries(Object.keys(keys).map((key) => [key, { is: 'unknown', error }]));
