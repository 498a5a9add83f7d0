/** `/v1/notices`, for the API document. */
import { announcedSchema } from '../notice-schema.ts';
import { problemExample } from '../openapi-problems.ts';
import type { RouteDoc } from '../route-doc.ts';

const noNotice = problemExample('no_notice', 'There is no notice of that id; GET /v1/lifetime lists them.');

export const announceDoc: RouteDoc = {
  id: 'announce',
  tag: 'operator',
  summary: 'Announce a shutdown or a drain; `at` or `in_secs` for a shutdown',
  description: 'Counts like a notice of the host. The same as `mjf-agent notice`.',
  answers: { 201: { says: 'Announced', type: 'application/json', schema: announcedSchema } },
  examples: [
    {
      name: 'drain',
      summary: 'No new work from now on',
      body: { kind: 'drain', reason: 'new kernel' },
      status: 201,
      answer: { id: 'operator/1' },
    },
    {
      name: 'shutdown',
      summary: 'Down in two days',
      body: { kind: 'shutdown', in_secs: 172800, reason: 'new kernel' },
      status: 201,
      answer: { id: 'operator/2' },
    },
    {
      name: 'without_time',
      summary: 'A shutdown without a time',
      body: { kind: 'shutdown' },
      status: 400,
      answer: problemExample('invalid', 'A shutdown needs at or in_secs.', [
        { detail: 'A shutdown needs at or in_secs.', pointer: '#/at' },
      ]),
    },
  ],
};

export const takeBackAllDoc: RouteDoc = {
  id: 'takeBackAll',
  tag: 'operator',
  summary: "Take back all the operator's notices",
  answers: { 204: { says: 'Taken back, if there were any' } },
  examples: [{ name: 'all', summary: 'Go on', status: 204 }],
};

export const takeBackDoc: RouteDoc = {
  id: 'takeBack',
  tag: 'operator',
  summary: "Take back one of the operator's notices (`operator/3`, or `3`)",
  description: "Or, by the id of a host's notice that was overridden, the overriding.",
  answers: { 204: { says: 'Taken back' } },
  problems: ['no_notice', 'not_overridden'],
  examples: [
    { name: 'one', summary: 'By its number', with: { id: '3' }, status: 204 },
    {
      name: 'host',
      summary: "The host's own word, which nobody has overridden",
      with: { id: 'directory/shutdowntime' },
      status: 409,
      answer: problemExample('not_overridden', "This is the host's own word: only the host takes it back."),
    },
    { name: 'unknown', summary: 'One that is not there', with: { id: '999' }, status: 404, answer: noNotice },
  ],
};

export const overrideDoc: RouteDoc = {
  id: 'overrideNotice',
  tag: 'operator',
  summary: "Override a host's notice by its id",
  description: 'It is shown as ignored and sets no deadline any more.',
  answers: { 204: { says: 'Overridden' } },
  problems: ['no_notice'],
  examples: [
    {
      name: 'host',
      summary: "What the host's directory says",
      body: { id: 'directory/shutdowntime' },
      status: 204,
    },
    { name: 'unknown', summary: 'One that is not there', body: { id: 'ec2/spot' }, status: 404, answer: noNotice },
  ],
};
