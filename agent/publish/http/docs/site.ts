/** Files and last words for the site, for the API document. */
import { problemExample } from '../openapi-problems.ts';
import { rowSchema } from '../payload-row-schema.ts';
import type { RouteDoc } from '../route-doc.ts';
import { EXAMPLE_ID, payloadExample, unknownPayload } from './payload-example.ts';

export const jobOutputDoc: RouteDoc = {
  id: 'putJobOutput',
  tag: 'site',
  summary: 'A file for the site, at most 1 MiB of any type',
  description:
    'On disk before the answer comes, and kept over a crash and a reboot until the site has it. A name is his who used it first; the same name again replaces the file. `shutdown_message` and the heartbeat are the agent’s own.',
  anyBody: 'The file; an empty one too',
  answers: { 201: { says: 'Taken; the agent hands it on' } },
  problems: ['bad_name', 'reserved_name', 'name_taken', 'no_channel', 'busy', 'full'],
  examples: [
    { name: 'log', summary: 'A log file', with: { name: 'pilot.log' }, body: 'all is well\n', status: 201 },
    {
      name: 'reserved',
      summary: "A name that is the agent's own",
      with: { name: 'shutdown_message' },
      body: '200 done',
      status: 403,
      answer: problemExample('reserved_name', "This name is the agent's own."),
    },
  ],
};

export const wordOfPayloadDoc: RouteDoc = {
  id: 'sayFinalWord',
  tag: 'site',
  summary: "The payload's last word to the site, kept until it ends; the latest counts",
  description: 'Its own word beats what its exit code says. Also for payloads of the configuration, by their owner.',
  answers: {
    200: { says: 'The row with it', type: 'application/json', schema: rowSchema, headers: ['ETag'] },
  },
  problems: ['foreign_payload', 'no_payload', 'too_many_changes'],
  examples: [
    {
      name: 'no_work',
      summary: 'There is nothing more to do',
      with: { id: EXAMPLE_ID },
      body: { code: 300, text: 'no more work' },
      status: 200,
      answer: payloadExample({ final_word: { code: 300, text: 'no more work', by: 'payload' } }),
    },
    unknownPayload({ code: 200 }),
  ],
};

export const wordOfMachineDoc: RouteDoc = {
  id: 'sayFinalWordOfMachine',
  tag: 'site',
  summary: "The machine's last word to the site; root and operator only",
  description: 'Payloads speak for themselves: `sayFinalWord`, or `mjf-agent finish` under `mjf-agent exec`.',
  answers: { 204: { says: 'Kept until the machine goes down' } },
  problems: ['operator_only'],
  examples: [
    {
      name: 'disabled',
      summary: 'The operator takes the machine out of work',
      body: { code: 400, text: 'disabled by its operator' },
      status: 204,
    },
    {
      name: 'wrong',
      summary: 'A code that is none',
      body: { code: 42 },
      status: 400,
      answer: problemExample('invalid', 'body/code must be >= 100', [{ detail: 'must be >= 100', pointer: '#/code' }]),
    },
  ],
};
