/** drain.ts against an agent that is made up: what the guard announces, whom it waits for, and when it gives up. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Daemon, drain, type Lifetime, type Reply, type Row } from '../../agent/guard/drain.ts';

const START = 1_766_440_000;
const UNIT_STEPS = [
  { signal: 'SIGTERM', state: 'planned' },
  { signal: 'SIGKILL', state: 'planned' },
] as const;
const row = (name: string, more: Partial<Row> = {}): Row => ({
  id: name,
  name,
  target: 'process',
  state: 'running',
  grace_secs: 120,
  deadline: null,
  stop_at: null,
  steps: [...UNIT_STEPS],
  ...more,
});

/** `rows` by the seconds that have passed; null: the agent is silent. */
function machine(rowsAt: (secs: number) => readonly Row[] | null, more: Partial<Daemon> = {}, budgetSecs = 1_000) {
  let secs = 0;
  const did: string[] = [];
  const said: string[] = [];
  let lifetime: Lifetime = { phase: 'running', deadline: null, stop_at: null };
  const daemon: { -readonly [K in keyof Daemon]: Daemon[K] } = {
    rows: async () => rowsAt(secs),
    lifetime: async () => lifetime,
    isTelling: async () => false,
    async announce(inSecs) {
      did.push(`announce ${inSecs} at ${secs}`);
      const deadline = START + secs + inSecs;
      lifetime = { phase: 'stopping', deadline, stop_at: deadline - 60 };
      return 'taken';
    },
    async hurry(id, deadline) {
      did.push(`hurry ${id} ${deadline - START} at ${secs}`);
      return 'taken';
    },
    revive: async () => false,
    ...more,
  };
  const run = () =>
    drain({
      daemon,
      budgetMs: budgetSecs * 1000,
      say: (text) => said.push(text),
      nowMs: () => secs * 1000,
      wallMs: () => (START + secs) * 1000,
      pause: async () => {
        secs += 1;
      },
    });
  const announced = (next: Lifetime) => {
    lifetime = next;
  };
  return { run, daemon, did, said, announced, secs: () => secs };
}

describe('the guard', () => {
  it('gives each payload its own lead from now on, and ends with the last of them', async () => {
    const m = machine((secs) => (secs < 7 ? [row('long', { grace_secs: 600 }), row('short', { grace_secs: 30 })] : []));
    assert.equal(await m.run(), true);
    assert.deepEqual(m.did, [
      'announce 600 at 0',
      'hurry long 600 at 0',
      'hurry short 30 at 0',
      // Nobody is left: near enough for hooks and the last word.
      'announce 60 at 7',
    ]);
    assert.equal(m.secs(), 7);
  });

  it('counts on nobody who has ended, and hurries nobody whose time is as good as here', async () => {
    const soon = row('soon', { grace_secs: 60, stop_at: START + 1 });
    const m = machine((secs) => (secs < 3 ? [row('ended', { state: 'stopped', grace_secs: 900 }), soon] : []));
    assert.equal(await m.run(), true);
    assert.deepEqual(m.did.slice(0, 1), ['announce 60 at 0']);
    assert.deepEqual(
      m.did.filter((each) => each.startsWith('hurry')),
      [],
    );
  });

  it('holds up nothing where nobody is registered, but says what is going on', async () => {
    const m = machine(() => []);
    assert.equal(await m.run(), true);
    assert.deepEqual(m.did, ['announce 5 at 0']);
    assert.equal(m.secs(), 0);
  });

  it('never announces more than it has, and leaves the rest to systemd when that is over', async () => {
    const m = machine(() => [row('long', { grace_secs: 6_000 })], {}, 100);
    assert.equal(await m.run(), false);
    assert.deepEqual(m.did, ['announce 100 at 0', 'hurry long 100 at 0']);
    assert.equal(m.secs(), 100);
    assert.match(m.said.at(-1) ?? '', /no time is left for long/);
  });

  it('an end that is nearer than what payloads need stands as it is', async () => {
    const m = machine((secs) => (secs < 3 ? [row('job', { stop_at: START - 10 })] : []));
    m.announced({ phase: 'stopping', deadline: START + 50, stop_at: START - 10 });
    assert.equal(await m.run(), true);
    assert.deepEqual(m.did, []);
  });

  it('does not wait for a unit, whose stop waits for us', async () => {
    const m = machine(() => [row('unit', { target: 'unit', grace_secs: 90 })]);
    assert.equal(await m.run(), true);
    assert.deepEqual(m.did, ['announce 90 at 0', 'announce 60 at 0']);
    assert.match(m.said.at(-1) ?? '', /left to systemd: unit/);
  });

  it('but does for one with a hook, until the agent has had its turn', async () => {
    const steps = (state: string) => [
      { signal: null, state: 'done' },
      { signal: 'SIGTERM', state },
    ];
    // At 2 s the agent has written down that it is about to.
    const at = (secs: number): string => (secs < 2 ? 'planned' : secs < 4 ? 'pending' : 'done');
    const m = machine((secs) => [row('unit', { target: 'unit', steps: steps(at(secs)) })]);
    assert.equal(await m.run(), true);
    assert.deepEqual(m.did.slice(0, 2), ['announce 120 at 0', 'hurry unit 120 at 0']);
    assert.equal(m.secs(), 4);
  });

  it('a unit with other steps than a stop is waited for until the first of them', async () => {
    const steps = [{ signal: 'SIGUSR1', state: 'planned' }];
    const m = machine((secs) => [row('unit', { target: 'unit', steps, state: secs < 3 ? 'running' : 'stopping' })]);
    assert.equal(await m.run(), true);
    assert.equal(m.secs(), 3);
  });

  it('a payload that comes meanwhile is hurried too', async () => {
    const m = machine((secs) => (secs < 2 ? [row('one')] : secs < 5 ? [row('one'), row('two')] : []));
    assert.equal(await m.run(), true);
    assert.deepEqual(
      m.did.filter((each) => each.startsWith('hurry')),
      ['hurry one 120 at 0', 'hurry two 122 at 2'],
    );
  });

  it('bears an agent that is restarted meanwhile', async () => {
    const m = machine((secs) => (secs > 2 && secs < 15 ? null : secs < 20 ? [row('job')] : []));
    assert.equal(await m.run(), true);
    assert.equal(m.secs(), 20);
  });

  it('gives up an agent that stays silent', async () => {
    const never = machine(() => null);
    assert.equal(await never.run(), false);
    assert.equal(never.secs(), 20);
    assert.deepEqual(never.did, []);
    const short = machine(() => null, {}, 12);
    assert.equal(await short.run(), false);
    assert.equal(short.secs(), 12, 'no longer than there is time');
    const later = machine((secs) => (secs < 10 ? [row('job')] : null));
    assert.equal(await later.run(), false);
    assert.equal(later.secs(), 30);
  });

  it('an agent that dies between two questions is asked again', async () => {
    let deaf = 3;
    const m = machine((secs) => (secs < 20 ? [row('job')] : []));
    const { announce, hurry } = m.daemon;
    m.daemon.announce = async (...words) => (deaf-- > 0 ? null : announce(...words));
    let missed = false;
    m.daemon.hurry = async (...words) => {
      if (missed) return hurry(...words);
      missed = true;
      return null;
    };
    assert.equal(await m.run(), true);
    assert.deepEqual(m.did.slice(0, 2), ['announce 120 at 3', 'hurry job 124 at 4']);
    assert.equal(m.secs(), 20);
  });

  it('waits for whoever takes its place, once, and ends one that hangs only in the end', async () => {
    const asked: string[] = [];
    const m = machine((secs) => (secs < 40 ? null : secs < 45 ? [row('job')] : []));
    m.daemon.revive = async (lastResort) => {
      if (asked.length === 2 || (asked.length === 0 && !lastResort)) return false;
      asked.push(`${lastResort} at ${m.secs()}`);
      return true;
    };
    assert.equal(await m.run(), true);
    assert.deepEqual(asked, ['true at 20', 'false at 21']);
    const dead = machine(() => null, { revive: async () => dead.secs() === 0 });
    assert.equal(await dead.run(), false);
    assert.equal(dead.secs(), 20, 'counted from what was done');
  });

  it('who has neither ended nor a step left holds up nobody after its time', async () => {
    const steps = [{ signal: 'SIGUSR1', state: 'done' }];
    const m = machine(() => [row('stays', { steps, grace_secs: 5, deadline: START + 5, stop_at: START })]);
    assert.equal(await m.run(), true);
    assert.equal(m.secs(), 15);
    assert.match(m.said.at(-1) ?? '', /left to systemd: stays/);
    const later = [{ signal: 'SIGKILL', state: 'planned' }];
    const kept = machine((secs) =>
      secs < 60 ? [row('late', { steps: later, deadline: START + 5, stop_at: START })] : [],
    );
    assert.equal(await kept.run(), true);
    assert.equal(kept.secs(), 60);
  });

  it('ends at once where the agent does not take the news: nobody would be stopped', async () => {
    const m = machine(() => [row('job')], { announce: async () => ({ refused: 'status 403' }) });
    assert.equal(await m.run(), false);
    assert.equal(m.secs(), 0);
  });

  it('says it again to an agent that is restarted in the very moment of being told', async () => {
    const answers: readonly (Reply | null)[] = [null, 'later', 'taken'];
    const asked: number[] = [];
    const m = machine((secs) => (secs < 9 ? [row('job')] : []), {
      announce: async (inSecs) => {
        asked.push(inSecs);
        return answers[asked.length - 1] ?? null;
      },
    });
    assert.equal(await m.run(), true);
    assert.deepEqual(asked, [120, 120, 120]);
    assert.match(m.said[0] ?? '', /in 120 s at the latest/);
  });

  it('hurries a payload until the agent has taken it; one for which there is no room holds up no other', async () => {
    const told: string[] = [];
    const answers: Record<string, (Reply | null)[]> = {
      busy: ['later'],
      silent: [null],
      refused: [{ refused: '404' }],
    };
    const m = machine((secs) => (secs < 6 ? ['busy', 'silent', 'refused'].map((name) => row(name)) : []), {
      async hurry(id) {
        told.push(`${id} at ${m.secs()}`);
        const left = answers[id] ?? [];
        return left.length > 0 ? (left.shift() ?? null) : 'taken';
      },
    });
    assert.equal(await m.run(), true);
    assert.deepEqual(told, ['busy at 0', 'silent at 0', 'busy at 1', 'silent at 1', 'refused at 1']);
    assert.deepEqual(
      m.said.filter((text) => text.includes('not told at once')),
      ['refused is not told at once: 404'],
    );
  });

  it('an agent that is restarted before the site has its last word is waited for', async () => {
    const m = machine(() => [], { isTelling: async () => (m.secs() < 3 ? true : m.secs() < 9 ? null : m.secs() < 12) });
    assert.equal(await m.run(), true);
    assert.equal(m.secs(), 12);
  });

  it('waits for hooks and the last word, but not for ever', async () => {
    let tellsFor = 5;
    const m = machine(() => [], { isTelling: async () => tellsFor-- > 0 });
    assert.equal(await m.run(), true);
    assert.equal(m.secs(), 5);
    const stuck = machine(() => [], { isTelling: async () => true });
    assert.equal(await stuck.run(), true);
    assert.equal(stuck.secs(), 30);
    const short = machine(() => [], { isTelling: async () => true }, 12);
    assert.equal(await short.run(), true);
    assert.equal(short.secs(), 12, 'nor longer than there is time');
  });
});
