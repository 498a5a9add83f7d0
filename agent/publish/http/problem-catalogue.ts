/**
 * Every error of the HTTP interface: its code, its status, what it is and what to do about it. The one table behind the answers,
 * the API document (`x-problems`) and packaging/docs/http.md. A code never changes its meaning; more may be added.
 */

interface ProblemKind {
  readonly status: number;
  /** What happened, the same for each occurrence: `title` of RFC 9457. */
  readonly title: string;
  /** What the caller can do about it. */
  readonly advice: string;
}

export const PROBLEMS = {
  bad_request: {
    status: 400,
    title: 'The request cannot be read',
    advice: 'Look at how the client writes HTTP: `detail` says what is wrong.',
  },
  bad_json: {
    status: 400,
    title: 'The body is not JSON',
    advice: 'Mind the quotes of the shell: `-d \'{"progress":0.5}\'`.',
  },
  invalid: {
    status: 400,
    title: 'A field of the request is wrong',
    advice: '`errors` names the field by its JSON pointer (or the parameter) and says what it must be.',
  },
  bad_name: {
    status: 400,
    title: 'No name for a file',
    advice: 'Use 1 to 128 of `A-Z a-z 0-9 . _ -`, without a leading dot.',
  },
  bad_path: {
    status: 400,
    title: 'The path cannot be read',
    advice: 'Look for a `%` that two hexadecimal digits should follow.',
  },
  absolute_target: {
    status: 400,
    title: 'This is no proxy',
    advice: 'Take the agent out of `http_proxy`, or set `no_proxy=localhost,127.0.0.1`.',
  },
  two_hosts: { status: 400, title: 'More than one Host header', advice: 'Send one.' },
  foreign_host: {
    status: 403,
    title: 'The Host header names another machine',
    advice: 'Ask for `localhost`, `127.0.0.1` or `[::1]`, at any port: a tunnel (`ssh -L`) works.',
  },
  foreign_origin: {
    status: 403,
    title: 'The request comes from a page of another origin',
    advice: 'Web pages of others get nothing here; ask from a program.',
  },
  cross_site: {
    status: 403,
    title: 'The request comes from a page of another site',
    advice: 'Web pages of others get nothing here; ask from a program.',
  },
  unidentified: {
    status: 403,
    title: 'The kernel does not tell who calls',
    advice:
      'Ask over loopback, from the network namespace and the user namespace of the machine; from elsewhere the operator asks over `admin.sock`.',
  },
  client_gone: {
    status: 403,
    title: 'The caller hung up before it was identified',
    advice: 'Read the answer before you close the connection. Nothing was done.',
  },
  read_only: {
    status: 403,
    title: 'Nothing can be changed through this door',
    advice: 'Use the loopback address (`cat /run/mjf-agent/url`).',
  },
  operator_only: {
    status: 403,
    title: 'Only for the operator',
    advice: 'Ask as root: `curl --unix-socket /run/mjf-agent/admin.sock http://localhost/…`.',
  },
  foreign_payload: {
    status: 403,
    title: "Another user's payload",
    advice: 'Only its owner, root and the operator may change it.',
  },
  configured_payload: {
    status: 403,
    title: 'The configuration says how this payload is stopped',
    advice: 'Its owner may give its last word; the rest is in `[[payload]]` of the configuration.',
  },
  foreign_process: {
    status: 403,
    title: 'Not a process of the caller',
    advice: 'Register processes of your own; the agent and the kernel are nobody’s payload.',
  },
  mixed_uids: {
    status: 403,
    title: 'The process runs under more than one uid',
    advice: 'Register it once it has settled on one user (after `setuid`).',
  },
  foreign_group: {
    status: 403,
    title: 'Others are in that process group',
    advice: 'Start the payload in a group of its own (`setsid`), or register the process alone.',
  },
  foreign_unit: {
    status: 403,
    title: 'Only root may have units stopped',
    advice: 'Let root register it, or write it into `[[payload]]` of the configuration.',
  },
  foreign_cgroup: {
    status: 403,
    title: 'Not a control group of the caller',
    advice: 'The directory below `/sys/fs/cgroup` must be yours, and no part of the system.',
  },
  hook_refused: {
    status: 403,
    title: 'Only the configuration may name programs',
    advice: 'Give a signal instead; programs go into `[[payload]]` or `[stop] steps`.',
  },
  reserved_name: {
    status: 403,
    title: "The name is the agent's own",
    advice: 'Take another name; the last word is said by `final_word`.',
  },
  name_taken: {
    status: 403,
    title: 'Another user has files of this name at the site',
    advice: 'Put something of your own into the name, such as the id of the job.',
  },
  not_found: { status: 404, title: 'There is nothing here', advice: '`curl localhost:8653` lists what there is.' },
  no_payload: {
    status: 404,
    title: 'No such payload of the caller',
    advice: 'It has ended, or is not yours: `GET /v1/payloads` lists yours. Register again if it still runs.',
  },
  no_notice: {
    status: 404,
    title: 'No notice of that id',
    advice: '`notices` of `GET /v1/lifetime` lists those in force.',
  },
  no_channel: {
    status: 404,
    title: 'The site has named no place for job outputs',
    advice: 'Keep the file, or ask the site for `JOBOUTPUTS`; trying again does not help.',
  },
  method_not_allowed: {
    status: 405,
    title: 'Not this method',
    advice: 'The `Allow` header says which.',
  },
  request_timeout: {
    status: 408,
    title: 'The request did not come to its end',
    advice: 'Send the headers and the body without pauses; the connection is closed.',
  },
  registered_already: {
    status: 409,
    title: 'This is registered already',
    advice: 'The `Location` header says where; change that row with PATCH.',
  },
  view_taken: {
    status: 409,
    title: 'Another payload has this view',
    advice: 'Propose another one, or none. If it is yours, the `Location` header says where.',
  },
  not_a_reservation: {
    status: 409,
    title: 'The payload names its process already',
    advice: 'Register the other process as a payload of its own.',
  },
  not_the_deliverer: {
    status: 409,
    title: 'The daemon itself delivers the steps of this payload',
    advice: 'Only who registered with `deliverer_pid` acknowledges steps.',
  },
  not_overridden: {
    status: 409,
    title: "The host's own notice",
    advice: 'Only the host takes it back; the operator may override it (`POST /v1/notices/ignore`).',
  },
  too_large: {
    status: 413,
    title: 'The body is too large',
    advice: '64 KiB for JSON, 1 MiB for a file under `/joboutputs/`.',
  },
  path_too_long: { status: 414, title: 'The path is too long', advice: 'Names have 128 characters at the most.' },
  not_json: {
    status: 415,
    title: 'The body must be application/json',
    advice: "`curl -H 'content-type: application/json' -d …`, or `curl --json …` from 7.82 on.",
  },
  no_target: {
    status: 422,
    title: 'Nothing to stop is named',
    advice: 'Give `target.pid`, `target.unit` or `target.cgroup`.',
  },
  bad_target: {
    status: 422,
    title: 'Fields of target that do not go together',
    advice: 'One of `pid`, `unit`, `cgroup`; `group` and `marker` only beside `pid`.',
  },
  bad_deliverer: {
    status: 422,
    title: 'That process cannot deliver these signals',
    advice: 'The deliverer is another process than the one that it stops, and stands outside of its group.',
  },
  bad_marker: {
    status: 422,
    title: 'The process does not carry the marker',
    advice: 'Put the marker into its environment before it is started.',
  },
  no_process: {
    status: 422,
    title: 'No such process',
    advice: 'It has ended, or stands in another pid namespace: give its pid as the machine sees it.',
  },
  not_group_leader: {
    status: 422,
    title: 'The process leads no process group',
    advice: 'Start it with `setsid`, or register it without `group`.',
  },
  no_unit: {
    status: 422,
    title: 'No such unit that may be stopped',
    advice: '`systemctl status NAME`; what the machine or the agent needs is never a payload.',
  },
  inactive_unit: { status: 422, title: 'The unit is not running', advice: 'Start it first.' },
  no_cgroup: {
    status: 422,
    title: 'No such control group',
    advice: 'A directory below `/sys/fs/cgroup` (v2), as `/x` or with the full path.',
  },
  rate_limited: {
    status: 429,
    title: 'Too many requests that need the caller identified',
    advice: 'Wait as long as `Retry-After` says; keep the connection, or wait for a change instead of asking.',
  },
  too_many_changes: {
    status: 429,
    title: 'The payload says too much',
    advice: 'Wait as long as `Retry-After` says, then say the latest.',
  },
  headers_too_large: {
    status: 431,
    title: 'Path and headers are too large',
    advice: 'Together they may have 16 KiB.',
  },
  internal: {
    status: 500,
    title: 'The agent failed on this request',
    advice: '`journalctl -u mjf-agent -p err` says more: report it.',
  },
  too_many_streams: {
    status: 503,
    title: 'All places of those who wait are taken',
    advice: 'Wait as long as `Retry-After` says, or ask without waiting.',
  },
  too_many_payloads: {
    status: 503,
    title: 'All places for payloads are taken',
    advice: 'Wait as long as `Retry-After` says; deregister what has ended.',
  },
  busy: {
    status: 503,
    title: 'Too many files at this moment',
    advice: 'Wait as long as `Retry-After` says and send it again.',
  },
  full: {
    status: 507,
    title: 'No place left for what the site has not taken yet',
    advice: 'Send it again later; `GET /metrics` (`mjf_reports_pending`) shows whether the site takes anything.',
  },
  own_output: {
    status: 508,
    title: 'The request comes from the agent itself',
    advice: 'A source or a report of this agent points to the agent: mend the configuration.',
  },
} as const satisfies Readonly<Record<string, ProblemKind>>;

export type ProblemCode = keyof typeof PROBLEMS;

export const isProblemCode = (text: string): text is ProblemCode => Object.hasOwn(PROBLEMS, text);

export const statusOf = (code: ProblemCode): number => PROBLEMS[code].status;
