/** `[[payload]]`, steps, `[hooks]`, `[[webhook]]` and the end of the machine, as configured. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { policyOf } from '../agent/config.ts';
import { load, loadGood, toml } from './support/load-config.ts';

const payload = (text: string) => toml(`[[payload]]\nname = "p"\n${text}\n`);
const UNIT = 'unit = "a.service"';

test('each way to find a payload, its settings and their defaults', async () => {
  const { payloads } = await loadGood(
    toml(`
[[payload]]
name = "condor"
unit = "condor.service"
grace = "10m"
restart_on_cancel = false
[[payload]]
name = "pilot"
pidfile = "/run/pilot.pid"
user = "pilot"
group = true
steps = [{ at = "grace", hook = "save" }, { at = "1m", signal = "SIGINT", to = "leader" }, { at = "5s", signal = "SIGKILL" }]
[[payload]]
name = "by-number"
pidfile = "/run/x.pid"
user = 1001
[[payload]]
name = "worker"
match = { user = 'SITE\\grid', command = '^/opt/w(orker)? \\d+$' }
[[payload]]
name = "batch"
cgroup = "/batch.slice/job"
`),
  );
  const rest = { group: false, graceMs: null, steps: null, restartOnCancel: true };
  assert.deepEqual(payloads, [
    {
      ...rest,
      name: 'condor',
      find: { by: 'unit', unit: 'condor.service' },
      graceMs: 600_000,
      restartOnCancel: false,
    },
    {
      ...rest,
      name: 'pilot',
      find: { by: 'pidfile', file: '/run/pilot.pid', user: 'pilot' },
      group: true,
      steps: [
        { at: 'grace', signal: 'hook:save' },
        { at: 60_000, signal: 'SIGINT', to: 'leader' },
        { at: 5_000, signal: 'SIGKILL' },
      ],
    },
    { ...rest, name: 'by-number', find: { by: 'pidfile', file: '/run/x.pid', user: '1001' } },
    { ...rest, name: 'worker', find: { by: 'match', user: 'SITE\\grid', command: /^\/opt\/w(orker)? \d+$/u } },
    { ...rest, name: 'batch', find: { by: 'cgroup', path: '/batch.slice/job' } },
  ]);
});

test('[[payload]] and [[webhook]] of several files add up, and a complaint names the file', async () => {
  const { problems } = await load({
    files: {
      'config.toml': '[[payload]]\nname = "a"\nunit = "a.service"\n[[webhook]]\nurl = "https://a.example/"\n',
      'conf.d/b.toml':
        '[[payload]]\nname = "a"\npidfile = "/x"\nuser = "u"\n[[webhook]]\nurl = "https://b.example/"\ncert = "/c"\n',
    },
  });
  assert.deepEqual(problems, [
    'conf.d/b.toml: payload[1].name: "a" is taken: each payload has a name of its own',
    'conf.d/b.toml: webhook[1].key: is missing: a client certificate needs both cert and key',
  ]);
});

test('a variable may hold a whole payload', async () => {
  const config = await loadGood({
    env: { MJF_AGENT_PAYLOAD: '[{ name = "x", unit = "x.scope" }]', MJF_AGENT_HOOKS__USER: '17' },
  });
  assert.deepEqual(config.payloads[0]?.find, { by: 'unit', unit: 'x.scope' });
  assert.equal(config.hooks.user, '17');
});

const MATCH = 'match = { user = "u", command = ';
for (const [name, text, expected] of [
  [
    'nothing to find it by',
    '',
    /^config\.toml: payload\[0\]: needs one of unit \(a systemd service, scope or slice such as "condor\.service"\), pidfile \(.*\), cgroup \(.*\), match \(.*\)$/,
  ],
  ['two ways to find it', `${UNIT}\ncgroup = "/a"`, /payload\[0\]: unit and cgroup exclude each other: keep one$/],
  ['an unknown key', `${UNIT}\ngrase = "5m"`, /payload\[0\]\.grase: unknown key; did you mean "grace"\?/],
  [
    'a pidfile without its user',
    'pidfile = "/x"',
    /payload\[0\]\.user: is missing, expected the user whose process it/,
  ],
  ['a relative pidfile', 'pidfile = "x"\nuser = "u"', /payload\[0\]\.pidfile: expected an absolute path/],
  ['the user of a unit', `${UNIT}\nuser = "u"`, /payload\[0\]\.user: goes with pidfile only: remove it here/],
  [
    'the user beside a match',
    `${MATCH}"^x" }\nuser = "u"`,
    /payload\[0\]\.user: belongs into match = \{ user = …, command = … \}: remove it here/,
  ],
  ['a match without user', 'match = { command = "x" }', /match\.user: is missing, expected a user's name or number/],
  [
    'a user that is an option',
    'pidfile = "/x"\nuser = "-x"',
    /payload\[0\]\.user: expected a user's name or number such/,
  ],
  ['a user with a colon', 'pidfile = "/x"\nuser = "a:b"', /payload\[0\]\.user: expected a user's name/],
  ['the number -1 as a user', 'pidfile = "/x"\nuser = 4294967295', /payload\[0\]\.user: expected a user's name/],
  [
    'a fraction as a user',
    'pidfile = "/x"\nuser = 1.5',
    /payload\[0\]\.user: expected a user's name or number .*got 1\.5/,
  ],
  [
    'no regular expression',
    `${MATCH}"a(b" }`,
    /^config\.toml: payload\[0\]\.match\.command: expected a regular expression such as ".*", got "a\(b": unterminated group$/,
  ],
  ['an escape that means nothing', `${MATCH}'\\-' }`, /match\.command: expected a regular .*: invalid escape$/],
  ['a socket', 'unit = "a.socket"', /payload\[0\]\.unit: expected a systemd service, scope or slice such as/],
  ['a template', 'unit = "a@.service"', /payload\[0\]\.unit: expected .*got "a@\.service": .*is a template/],
  ['the slice of all', 'unit = "system.slice"', /payload\[0\]\.unit: .*would stop the machine/],
  ['the agent itself', 'unit = "mjf-agent.service"', /payload\[0\]\.unit: .*belongs to the agent/],
  ['a pattern of units', 'unit = "a*.service"', /payload\[0\]\.unit: expected a systemd service/],
  ['the root of control groups', 'cgroup = "/"', /payload\[0\]\.cgroup: expected a control group below the root/],
  ['a way up', 'cgroup = "/a/../../b"', /payload\[0\]\.cgroup: expected a control group/],
  [
    'a step without anything to do',
    `${UNIT}\nsteps = [{ at = "5s" }]`,
    /steps\[0\]: needs one of signal \(.*\), hook \(/,
  ],
  [
    'a step with two things to do',
    `${UNIT}\nsteps = [{ at = "5s", hook = "a", signal = "SIGTERM" }]`,
    /steps\[0\]: signal and hook exclude each other: keep one/,
  ],
  [
    'a receiver of a hook',
    `${UNIT}\nsteps = [{ at = "grace", signal = "SIGTERM" }, { at = "5s", hook = "a", to = "all" }]`,
    /payload\[0\]\.steps\[1\]\.to: goes with a signal/,
  ],
  [
    'a path as a hook',
    `${UNIT}\nsteps = [{ at = "5s", hook = "../a" }]`,
    /steps\[0\]\.hook: expected the name of a prog/,
  ],
  [
    'what an editor left as a hook',
    `${UNIT}\nsteps = [{ at = "5s", hook = "a.bak" }]`,
    /steps\[0\]\.hook: expected the/,
  ],
] as const) {
  test(`${name} is refused`, async () => {
    const { problems } = await load(payload(text));
    assert.equal(problems.length, 1, problems.join('\n'));
    assert.match(problems[0] ?? '', expected);
  });
}

for (const text of ['', 'a b', '-a', '/a', 'é', 'x'.repeat(65)]) {
  test(`${JSON.stringify(text)} is no name of a payload`, async () => {
    const { problems } = await load(toml(`[[payload]]\nname = ${JSON.stringify(text)}\n${UNIT}\n`));
    assert.equal(problems.length, 1);
    assert.match(problems[0] ?? '', /payload\[0\]\.name: expected a name of letters, digits and/);
  });
}

const AT_GRACE = '{ at = "grace", signal = "SIGTERM" }';
for (const [name, text, expected] of [
  [
    'an expression that matches nothing at all',
    `${MATCH}"" }`,
    ['match.command: matches every command line: all processes of this user are stopped'],
  ],
  [
    'an expression for any character',
    `${MATCH}"." }`,
    ['match.command: matches every command line: all processes of this user are stopped'],
  ],
  ['an expression for an empty command line', `${MATCH}"^$" }`, []],
  ['an expression for something', `${MATCH}"^/usr/bin/x" }`, []],
  ['a group of a unit', `${UNIT}\ngroup = true`, ['group: has no effect: it goes with pidfile']],
  [
    'a restart of a process',
    `${MATCH}"^x" }\nrestart_on_cancel = true`,
    ['restart_on_cancel: has no effect: only a unit can be started again'],
  ],
  [
    'a lead shorter than the SIGKILL of [stop]',
    `${UNIT}\ngrace = "3s"`,
    ['grace: is shorter than the 5 s of SIGKILL in stop.steps, which comes before stopping begins'],
  ],
  [
    'a step before the own lead',
    `${UNIT}\ngrace = "1m"\nsteps = [${AT_GRACE}, { at = "5m", signal = "SIGUSR1" }, { at = "9m", hook = "a" }]`,
    ["steps[1].at: is earlier than this payload's grace (1 min), when stopping begins"],
  ],
  [
    'a step before the lead of [stop]',
    `cgroup = "/a"\nsteps = [${AT_GRACE}, { at = "5m", signal = "SIGUSR1" }, { at = "9m", hook = "a" }]`,
    ['steps[1].at: is earlier than stop.grace (2 min), when stopping begins'],
  ],
  [
    'a step of a unit, whose own stop timeout may be longer',
    `${UNIT}\nsteps = [${AT_GRACE}, { at = "5m", signal = "SIGUSR1" }]`,
    [],
  ],
  [
    'SIGKILL alone',
    'cgroup = "/a"\nsteps = [{ at = "5s", signal = "SIGKILL" }]',
    ['steps[0]: SIGKILL comes before any SIGTERM: payloads cannot save their work'],
  ],
  [
    'hooks alone',
    'cgroup = "/a"\nsteps = [{ at = "5s", hook = "a" }]',
    ['steps: no step sends a signal: hooks alone must end the payload'],
  ],
  [
    'a unit that is never stopped through systemd',
    `${UNIT}\nsteps = [{ at = "grace", signal = "SIGINT" }]`,
    ['steps: without SIGTERM the unit is not stopped through systemd, which may start it again'],
  ],
  [
    'a leader of a unit',
    `${UNIT}\nsteps = [{ at = "grace", signal = "SIGTERM", to = "leader" }]`,
    ['steps[0].to: has no meaning for a unit: every process in it gets the signal'],
  ],
  [
    'a group of a control group',
    'cgroup = "/a"\nsteps = [{ at = "grace", signal = "SIGTERM", to = "group" }]',
    ['steps[0].to: has no meaning for a control group: every process in it gets the signal'],
  ],
  [
    'a sensible plan of its own',
    `${UNIT}\ngrace = "10m"\nsteps = [{ at = "grace", hook = "a" }, { at = "5m", signal = "SIGTERM" }, { at = "30s", signal = "SIGKILL" }]`,
    [],
  ],
] as const) {
  test(`${name}: ${expected.length === 0 ? 'nothing to say' : 'a warning'}`, async () => {
    const { warnings, problems } = await load(payload(text));
    assert.deepEqual(problems, []);
    assert.deepEqual(
      warnings,
      expected.map((one) => `config.toml: payload[0].${one}`),
    );
  });
}

test('two payloads that are one thing: a warning', async () => {
  const { warnings } = await load(toml(`[[payload]]\nname = "a"\n${UNIT}\n[[payload]]\nname = "b"\n${UNIT}\n`));
  assert.deepEqual(warnings, ['config.toml: payload[1]: is found the same way as "a": one of them idles']);
});

test('[stop]: power-off reaches the policy and is no warning; a hook among its steps', async () => {
  const { config, warnings } = await load(
    toml(
      `[stop]\nat_deadline = "poweroff"\nwhen_done = "poweroff"\nidle = "90s"\nsteps = [{ at = "grace", hook = "note" }, ${AT_GRACE}]\n`,
    ),
  );
  assert.deepEqual(warnings, []);
  assert.ok(config);
  const { atDeadline, whenDone, idleMs, steps } = policyOf(config);
  assert.deepEqual([atDeadline, whenDone, idleMs], ['poweroff', 'poweroff', 90_000]);
  assert.deepEqual(steps, [
    { at: 'grace', signal: 'hook:note' },
    { at: 'grace', signal: 'SIGTERM' },
  ]);
});

test('idle without when_done has no effect, and says so', async () => {
  const { warnings } = await load(toml('[stop]\nidle = "90s"\n'));
  assert.deepEqual(warnings, ['config.toml: stop.idle: has no effect without when_done = "poweroff"']);
});

test('--poweroff-when-done wins over the file', async () => {
  const config = await loadGood({ ...toml('[stop]\nwhen_done = "nothing"\n'), flags: { poweroffWhenDone: true } });
  assert.equal(config.stop.whenDone, 'poweroff');
  assert.equal((await loadGood({ flags: { poweroffWhenDone: false } })).stop.whenDone, 'nothing');
});

test('[hooks], hand_socket and [[webhook]] as written', async () => {
  const config = await loadGood(
    toml(`hand_socket = "/run/h.sock"
[hooks]
dir = "/opt/hooks/"
user = "ops"
timeout = "1m"
[[webhook]]
url = "https://site.example/x?vm=1"
events = ["stopping", "notice"]
authorization_file = "/etc/t"
ca = "/ca"
cert = "/c"
key = "/k"
[[webhook]]
url = "http://127.0.0.1:1/"
`),
  );
  assert.equal(config.handSocket, '/run/h.sock');
  assert.deepEqual(config.hooks, { dir: '/opt/hooks', user: 'ops', timeoutMs: 60_000 });
  const none = { authorizationFile: null, caFile: null, certFile: null, keyFile: null };
  assert.deepEqual(config.webhooks, [
    {
      url: 'https://site.example/x?vm=1',
      events: ['stopping', 'notice'],
      authorizationFile: '/etc/t',
      caFile: '/ca',
      certFile: '/c',
      keyFile: '/k',
    },
    {
      ...none,
      url: 'http://127.0.0.1:1/',
      events: ['notice', 'draining', 'stopping', 'stopped', 'cancelled', 'can_terminate'],
    },
  ]);
});

for (const [name, text, expected] of [
  ['a web hook without URL', '[[webhook]]\nca = "/x"', /webhook\[0\]\.url: is missing, expected a URL without user or/],
  [
    'an unknown event',
    '[[webhook]]\nurl = "https://a.example"\nevents = ["stop"]',
    /events\[0\]: expected one of "notice", "d/,
  ],
  [
    'no event',
    '[[webhook]]\nurl = "https://a.example"\nevents = []',
    /webhook\[0\]\.events: must NOT have fewer than 1/,
  ],
  ['a hook that may not run', '[hooks]\ntimeout = "10ms"', /hooks\.timeout: expected at least 1s, got 10 ms/],
  ['a relative directory of hooks', '[hooks]\ndir = "hooks.d"', /hooks\.dir: expected an absolute path/],
  [
    'a receiver of a hook in [stop]',
    '[stop]\nsteps = [{ at = "5s", hook = "a", to = "all" }]',
    /stop\.steps\[0\]\.to: goes/,
  ],
] as const) {
  test(`${name} is refused`, async () => {
    const { problems } = await load(toml(text));
    assert.equal(problems.length, 1, problems.join('\n'));
    assert.match(problems[0] ?? '', expected);
  });
}

for (const [name, text, expected] of [
  [
    'a secret over http',
    'url = "http://a.example"\nauthorization_file = "/t"',
    /url: is http: the content of authorization_file/,
  ],
  [
    'certificates for http',
    'url = "http://a.example"\nca = "/t"',
    /webhook\[0\]\.url: is http: ca, cert and key have no effect/,
  ],
  [
    'the same events sent twice to one place',
    'url = "https://a.example"\n[[webhook]]\nurl = "https://a.example"\nevents = ["notice"]',
    /webhook\[1\]\.url: stands there twice with the same events/,
  ],
] as const) {
  test(`${name}: a warning`, async () => {
    const { warnings, problems } = await load(toml(`[[webhook]]\n${text}\n`));
    assert.deepEqual(problems, []);
    assert.equal(warnings.length, 1);
    assert.match(warnings[0] ?? '', expected);
  });
}
