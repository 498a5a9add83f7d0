/** What the JSON of the commands holds, for `--help`, the manual page and the documents. An interface: fields may be added, none changes its meaning. */
import type { JsonField } from './command.ts';

const INSTANT = 'UNIX seconds';

/** `GET /v1/lifetime` (lifetime/document.ts), which `status` and `watch` pass on as it is. */
export const LIFETIME_JSON: readonly JsonField[] = [
  ['phase', 'running, draining, stopping or stopped'],
  ['deadline', `${INSTANT} by which all processing must have ended; null: no end is foreseen`],
  [
    'drain_at, stop_at',
    `${INSTANT} from which no new work is to be taken, and payloads are stopped; null: not foreseen`,
  ],
  ['grace_secs', 'how much notice the host promises; null: nothing is promised'],
  ['stop_grace_secs', 'how long before the deadline stopping of a payload begins that states no grace of its own'],
  ['reason', 'where the deadline comes from, for people; null without a deadline'],
  ['overdue', 'true: the machine has outlived its deadline'],
  ['next_change', `${INSTANT} at which this document changes by itself; null: never`],
  ['termination_allowed', "the host's word: may the site terminate at any time? null: it has not said"],
  [
    'can_terminate',
    "the machine's answer to the site: { now, at, must_not_until, progress }; null: no payload has ever lived here",
  ],
  [
    'notices',
    '[ id, source, kind, deadline, reason, first_seen, stale ], and expired, ignored, broken_promise where they are true',
  ],
  ['machinefeatures, jobfeatures', '{ KEY: { value, source, since, stale } }; value is text, as in the file'],
  [
    'sources',
    '[ name, state (ok, stale, failed, absent), since ], and error, clock_offset_secs, faults where there are any',
  ],
  ['payloads', '{ running, stopping, stopped }: how many'],
];

/** `probe --json` (probe/types.ts). */
export const PROBE_JSON: readonly JsonField[] = [
  ['machine', 'dmi, labels, cloud_id, hypervisor_uuid, fw_cfg: what detection goes by'],
  ['daemon', 'running, phase, deadline: what the daemon says, if one runs'],
  [
    'sources',
    '[ name, used, why, sign, channel (host, machine), rank, outcome (answer, no_channel, failed), error, detail, took_ms, clock_offset_secs, faults, asked: [ what, answered, took_ms ] ]',
  ],
  ['pointers', "machinefeatures, jobfeatures, joboutputs as a platform's metadata names them, without user and query"],
  [
    'would',
    'phase, deadline, drain_at, stop_at, reason, termination_allowed, notices: [ id, source, kind, deadline, reason, expired ], machinefeatures and jobfeatures: { KEY: { value, source } }',
  ],
  ['hints', '[ code, text ]'],
  ['took_ms', 'for all of it'],
];

export const CHECK_JSON: readonly JsonField[] = [
  ['ok', 'whether the daemon would start with it'],
  ['files', 'what was read, in this order'],
  ['warnings', 'sentences'],
  ['problems', '[ origin (file, variable or flag), key, message, line, column ]; origin, line and column may be null'],
];

export const NOTICE_JSON: readonly JsonField[] = [
  ['did', 'announced, cancelled or ignored'],
  ['id', 'of the notice, for --cancel; null when all were cancelled'],
];
