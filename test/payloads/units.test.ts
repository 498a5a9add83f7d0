/** units.ts with a systemctl that answers as it is told; with the real one: test/systemd. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { beforeEach, describe, test } from 'node:test';
import pino from 'pino';
import { systemctl } from '../../agent/payloads/systemctl.ts';
import { openUnits } from '../../agent/payloads/units.ts';
import { isAlive } from '../support/processes.ts';

/** Generous: what never comes runs into it. */
const PATIENCE_MS = 60_000;

interface Asked {
  readonly PATH: string;
}

/** A directory with a `systemctl` that runs this script of sh; `$0.log` gets its arguments. */
function fake(
  t: { after(fn: () => void): void },
  script: string,
): { readonly env: Asked; calls(): readonly string[]; dir: string } {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-systemctl-'));
  t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
  const file = path.join(dir, 'systemctl');
  fs.writeFileSync(file, `#!/bin/sh\necho "$*" >> ${dir}/calls\n${script}\n`, { mode: 0o755 });
  fs.mkdirSync(path.join(dir, 'root/run/systemd/system'), { recursive: true });
  fs.mkdirSync(path.join(dir, 'root/proc/self'), { recursive: true });
  fs.writeFileSync(path.join(dir, 'root/proc/self/cgroup'), '0::/site.slice/agent.service\n');
  const calls = (): readonly string[] =>
    fs.existsSync(`${dir}/calls`) ? fs.readFileSync(`${dir}/calls`, 'utf8').trim().split('\n') : [];
  return { env: { PATH: dir }, calls, dir };
}

let lines: { readonly event: string; readonly msg: string }[] = [];
const log = pino({ level: 'debug' }, { write: (line: string) => lines.push(JSON.parse(line)) });
beforeEach(() => {
  lines = [];
});
const hand = {
  units: () => Promise.reject(new Error('not asked')),
};
const opened = ({ env, dir }: { readonly env: Asked; readonly dir: string }) =>
  openUnits({ hand, env: { ...env }, log, root: path.join(dir, 'root') });

const row = (id: string, values: Readonly<Record<string, string>> = {}): string => {
  const all = { Id: id, Names: id, LoadState: 'loaded', ActiveState: 'active', Slice: 'system.slice', ...values };
  return Object.entries(all)
    .map(([name, value]) => `${name}=${value}`)
    .join('\n');
};
const say = (...rows: readonly string[]): string => `/bin/cat <<'END'\n${rows.join('\n\n')}\nEND`;

describe('systemctl as a child', () => {
  test('has nothing of our environment but the path and the bus', async (t) => {
    const { env } = fake(t, '/usr/bin/env');
    const bus = 'unix:path=/nowhere';
    const result = await systemctl(['x'], {
      env: { ...env, SECRET: 'a', LANG: 'de_DE', DBUS_SYSTEM_BUS_ADDRESS: bus },
      timeoutMs: PATIENCE_MS,
    });
    const names = result.stdout.split('\n').map((line) => line.split('=')[0]);
    assert.ok(names.includes('DBUS_SYSTEM_BUS_ADDRESS'));
    assert.ok(!names.includes('SECRET') && !names.includes('LANG'));
    assert.match(result.stdout, /^LC_ALL=C$/m);
  });

  test('that hangs is ended, and is gone', async (t) => {
    const { env, dir } = fake(t, `echo $$ > "${'$'}{0%/*}/pid"; exec /bin/sleep 1000`);
    const hung = systemctl(['x'], { env: { ...env }, timeoutMs: 500 });
    assert.equal((await hung).ok, false);
    const result = await hung;
    assert.equal(result.ok ? '' : result.code, 'timeout');
    const pid = Number(fs.readFileSync(`${dir}/pid`, 'utf8'));
    const endMs = Date.now() + PATIENCE_MS;
    while (isAlive(pid) && Date.now() < endMs) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(isAlive(pid), false);
  });

  test('that writes without end is stopped', async (t) => {
    const { env } = fake(
      t,
      'while :; do echo 0123456789012345678901234567890123456789012345678901234567890123456789; done',
    );
    const result = await systemctl(['x'], { env: { ...env }, timeoutMs: PATIENCE_MS });
    assert.equal(result.ok ? '' : result.code, 'too_long');
  });

  test('that fails gives its complaint without control characters', async (t) => {
    const { env } = fake(t, `printf 'no \\033[1mway\\n' >&2; exit 4`);
    const result = await systemctl(['x'], { env: { ...env }, timeoutMs: PATIENCE_MS });
    assert.deepEqual(result, { ok: false, code: 'failed', detail: 'systemctl ended with 4: no  [1mway', stdout: '' });
  });

  test('that is not there', async () => {
    const result = await systemctl(['x'], { env: { PATH: '/nonexistent' }, timeoutMs: PATIENCE_MS });
    assert.equal(result.ok ? '' : result.code, 'not_found');
  });
});

describe('units', () => {
  test('without systemd there are none, and nobody is asked', async (t) => {
    const place = fake(t, 'exit 1');
    fs.rmSync(path.join(place.dir, 'root/run'), { recursive: true });
    const units = opened(place);
    assert.equal(units.available(), false);
    assert.deepEqual([...(await units.describe(['a.service']))], [['a.service', null]]);
    assert.deepEqual(place.calls(), []);
  });

  test('many are described by one child, and names that are none never reach it', async (t) => {
    const place = fake(
      t,
      say(row('-.slice', { ControlGroup: '/', Slice: '' }), row('a.service', { ControlGroup: '/x' }), row('b.service')),
    );
    const found = await opened(place).describe([
      'a.service',
      'b.service',
      '--root=/evil',
      '*.service',
      'system.slice',
      'no.service',
    ]);
    assert.deepEqual(place.calls().length, 1);
    assert.match(place.calls()[0] ?? '', / -- -\.slice a\.service b\.service no\.service$/);
    assert.equal(found.get('a.service')?.cgroup, '/x');
    assert.equal(found.get('b.service')?.cgroup, '/system.slice/b.service');
    for (const name of ['--root=/evil', '*.service', 'system.slice', 'no.service']) assert.equal(found.get(name), null);
  });

  test('an alias of what belongs to the system is none', async (t) => {
    const place = fake(t, say(row('systemd-logind.service', { Names: 'harmless.service systemd-logind.service' })));
    assert.equal((await opened(place).describe(['harmless.service'])).get('harmless.service'), null);
  });

  test('what the agent runs in is none, by name or by dependence', async (t) => {
    const place = fake(
      t,
      `case "$*" in *low*) ${say(row('low.service', { RequiredBy: 'mid.service' }))
        .replace('END', 'END')
        .trim()}\n;;
*mid*) ${say(row('mid.service', { BoundBy: 'agent.service' }))}\n;;
*) ${say(row('agent.service'))}\n;; esac`,
    );
    const units = opened(place);
    assert.equal((await units.describe(['low.service'])).get('low.service'), null);
    assert.equal(place.calls().length, 3, 'one child a level');
    const forecast = (await units.foresee(['low.service', 'agent.service', 'site.slice'], PATIENCE_MS)) ?? new Map();
    for (const name of ['low.service', 'agent.service', 'site.slice'])
      assert.equal(forecast.get(name)?.is, 'refused', name);
  });

  test('a circle of dependence ends', async (t) => {
    const both = say(row('a.service', { RequiredBy: 'b.service' }), row('b.service', { RequiredBy: 'a.service' }));
    const place = fake(t, both);
    assert.deepEqual(await opened(place).membersOf('a.service'), ['a.service', 'b.service']);
  });

  test('started again is what its operator wants to run', async (t) => {
    const down =
      'up.service off.service failed.service going.service coming.service back.service queued.service away.service x.socket deep.slice y.target s.scope made.service';
    const place = fake(
      t,
      `case "$*" in *list-jobs*) printf '1 queued.service start waiting\\n2 away.service stop waiting\\n3 back.service restart waiting\\n' ;;
*) ${say(
        row('work.slice', { SliceOf: down }),
        row('up.service'),
        row('off.service', { ActiveState: 'inactive' }),
        row('failed.service', { ActiveState: 'failed' }),
        row('going.service', { ActiveState: 'deactivating' }),
        row('coming.service', { ActiveState: 'activating' }),
        row('back.service', { ActiveState: 'deactivating', Job: '3' }),
        row('queued.service', { ActiveState: 'inactive', Job: '1' }),
        row('away.service', { Job: '2' }),
        row('x.socket'),
        row('deep.slice'),
        row('y.target'),
        row('s.scope'),
        row('made.service', { Transient: 'yes' }),
      )}\n;; esac`,
    );
    const found = (await opened(place).foresee(['work.slice'], PATIENCE_MS))?.get('work.slice');
    assert.deepEqual(found, {
      is: 'running',
      canStop: true,
      startAgain: ['x.socket', 'up.service', 'coming.service', 'back.service', 'queued.service'],
      lost: ['s.scope', 'made.service'],
    });
  });

  test('idle is what does not run, unless a start of it is on its way', async (t) => {
    const place = fake(
      t,
      `case "$*" in *list-jobs*) printf '1 queued.service start waiting\\n' ;;
*) ${say(row('off.service', { ActiveState: 'failed' }), row('queued.service', { ActiveState: 'inactive', Job: '1' }))}\n;; esac`,
    );
    const found = await opened(place).foresee(['off.service', 'queued.service', 'no.service'], PATIENCE_MS);
    assert.equal(found?.get('off.service')?.is, 'idle');
    assert.equal(found?.get('no.service')?.is, 'idle');
    assert.equal(found?.get('queued.service')?.is, 'running');
  });

  test('silent systemd: nothing is known, one line for it, and one when it is over', async (t) => {
    const place = fake(t, `[ -e ${'$'}{0%/*}/well ] || exit 1\n${say(row('a.service'))}`);
    const units = opened(place);
    assert.equal((await units.describe(['a.service'])).get('a.service'), null);
    assert.equal(await units.foresee(['a.service'], PATIENCE_MS), null);
    assert.equal(await units.look(['a.service'], PATIENCE_MS), null);
    assert.deepEqual(
      lines.map(({ event }) => event),
      ['systemd_silent'],
    );
    fs.writeFileSync(path.join(place.dir, 'well'), '');
    assert.equal((await units.describe(['a.service'])).get('a.service')?.unit, 'a.service');
    assert.deepEqual(
      lines.map(({ event }) => event),
      ['systemd_silent', 'systemd_answers'],
    );
  });

  test('a hundred descriptions at once are at most two children at once', async (t) => {
    const place = fake(
      t,
      `/bin/mkdir ${'$'}{0%/*}/one 2>/dev/null || /bin/mkdir ${'$'}{0%/*}/two 2>/dev/null || echo crowd >> ${'$'}{0%/*}/crowd
${say(row('a.service'))}
/bin/rmdir ${'$'}{0%/*}/two 2>/dev/null || /bin/rmdir ${'$'}{0%/*}/one`,
    );
    const units = opened(place);
    const all = await Promise.all(Array.from({ length: 20 }, () => units.describe(['a.service'])));
    assert.ok(all.every((found) => found.get('a.service') !== null));
    assert.equal(fs.existsSync(path.join(place.dir, 'crowd')), false);
  });
});
