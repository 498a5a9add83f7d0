/** The status page of the built program in a real browser. */
import assert from 'node:assert/strict';
import net from 'node:net';
import test, { after, before, describe } from 'node:test';
import type { Browser } from 'playwright-core';
import { inSecs, startAgent, type TestAgent } from '../support/agent.ts';
import { type Ending, SCRIPTS, startPayload } from '../support/processes.ts';
import { NO_BROWSER, openPage, startBrowser, type Watched } from './browser.ts';

/** Everything that an attacker on the host's side, or a payload, could try to have run. */
const EVIL = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>';
const PHONE = { width: 375, height: 740 };
const SMALL_PHONE = { width: 320, height: 640 };
/** A window of 1280 px at 200 %. */
const ZOOMED = { width: 640, height: 450 };
const TABLET = { width: 768, height: 1024 };

/** A port that stays the same when the agent is started again. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = net.createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

async function start(t: Ending, machine: Readonly<Record<string, string | number>>, config = ''): Promise<TestAgent> {
  return startAgent(t, {
    machine: { total_cpu: 8, hs06: '171.04', grace_secs: 120, max_rss_bytes: 17_179_869_184, ...machine },
    // A wall limit is a deadline too.
    job: {
      jobstart_secs: inSecs(-3600),
      job_id: 'vm-17',
      ...('shutdowntime' in machine && { wall_limit_secs: 864_000 }),
    },
    listen: `127.0.0.1:${await freePort()}`,
    config,
  });
}

async function register(t: Ending, agent: TestAgent, name: string, more: object = {}): Promise<void> {
  const payload = await startPayload(t, SCRIPTS.ignoresTerm);
  const body = { name, target: { pid: payload.pid, group: true }, ...more };
  const answer = await agent.request('/v1/payloads', { method: 'POST', body });
  assert.equal(answer.status, 201, answer.body.toString());
}

async function notice(agent: TestAgent, body: object): Promise<void> {
  const answer = await agent.request('/v1/notices', { method: 'POST', body, socket: 'admin.sock' });
  assert.equal(answer.status, 201, answer.body.toString());
}

/** A tab shows nothing, without a word, where the browser cannot read its icon. */
const iconDraws = (page: Watched['page']): Promise<boolean> =>
  page.evaluate(`new Promise((resolve) => {
    const image = Object.assign(new Image(), { onload: () => resolve(true), onerror: () => resolve(false) });
    image.src = document.querySelector('link[rel=icon]').href;
  })`);

const overflow = (page: Watched['page']): Promise<number> =>
  page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth');

function assertQuiet({ requests, said }: Watched, agent: TestAgent, mayFail = false): void {
  const elsewhere = requests.filter((url) => !url.startsWith(`${agent.url}/`) && !url.startsWith('data:'));
  assert.deepEqual(elsewhere, [], 'nothing is asked of anybody else');
  const complaints = said.filter((line) => !(mayFail && /net::ERR_|Failed to fetch|status of 503/.test(line)));
  assert.deepEqual(complaints, [], 'no violation of the policy and no error');
}

describe('status page', { skip: NO_BROWSER }, () => {
  let browser: Browser;
  before(async () => {
    browser = await startBrowser();
  });
  after(() => browser.close());

  test('the countdown moves, a notice comes and goes without a reload, and no text of others becomes markup', async (t) => {
    const agent = await start(t, { shutdowntime: inSecs(5_400), site_note: EVIL });
    await register(t, agent, `analysis ${EVIL}`, { can_terminate: { now: false, at: inSecs(1_800) }, progress: 0.4 });
    const watched = await openPage(browser);
    const { page, text, shows } = watched;
    await page.goto(`${agent.url}/`);
    await page.evaluate('window.sameDocument = true');
    await shows('#count', /^1 h (29|30) min \d\d s$/);
    const first = await text('#count');
    await watched.holds(
      `document.getElementById('count').innerText.replace(/\\s+/g, ' ') !== ${JSON.stringify(first)}`,
    );
    const left = Number((await agent.request('/v1/remaining_secs')).body.toString());
    const [hours = 0, minutes = 0, secs = 0] = [...(await text('#count')).matchAll(/\d+/g)].map(Number);
    assert.ok(Math.abs(hours * 3600 + minutes * 60 + secs - left) <= 2 + agent.slackSecs, 'as /v1/remaining_secs says');
    await shows('#phase', /^●? ?running take work as usual$/);
    await shows('#link', /^live$/);
    await shows('#features', /site_note.*<img src=x onerror=/);
    await shows('#payloads', /analysis <img.*SIGTERM.*planned.*40 %/);
    await shows('#sources', /directory.*✓ ok.*readings, 0 failed/);

    await notice(agent, { kind: 'drain', reason: `patch day ${EVIL}` });
    await shows('#notices', /drain.*patch day <img src=x onerror=.*operator\/1/);
    await shows('#phase', /draining take no new work/);
    await shows('#said', /Phase draining.*Notice: drain, patch day/);
    await shows('#history', /operator\/1: drain announced/);
    await agent.request('/v1/notices', { method: 'DELETE', socket: 'admin.sock' });
    await shows('#notices', /^(?!.*patch day)/);
    await shows('#phase', /running/);
    await shows('#said', /A notice is gone/);
    assert.equal(await page.evaluate('window.sameDocument'), true, 'never loaded again');
    assert.equal(await page.evaluate('window.pwned'), undefined);
    assert.equal(await page.locator('main img, main script').count(), 0);
    assertQuiet(watched, agent);
    await watched.context.close();
  });

  test('a stream that is refused is not asked for again and again, and the page lives without it', async (t) => {
    const agent = await start(t, { shutdowntime: inSecs(5_400) });
    const watched = await openPage(browser);
    const { page, shows } = watched;
    await page.route('**/v1/events', (route) => route.fulfill({ status: 503 }));
    await page.goto(`${agent.url}/`);
    await shows('#count', /^1 h/);
    await shows('#link', /^live$/);
    // As long as a loop needs for many turns, whatever this machine is like.
    for (let turn = 0; turn < 100; turn++) await page.evaluate(`fetch('/healthz').then((answer) => answer.text())`);
    const asked = watched.requests.filter((url) => url.endsWith('/v1/events')).length;
    assert.ok(asked >= 1 && asked < 5, `asked ${asked} times`);
    await watched.context.close();
  });

  test('an agent that is gone is said to be gone, its countdown stands still, and all of it comes back', async (t) => {
    const agent = await start(t, { shutdowntime: inSecs(5_400) });
    const watched = await openPage(browser);
    const { page, shows } = watched;
    await page.goto(`${agent.url}/`);
    await shows('#count', /^1 h/);
    await agent.stop();
    await shows('#link', /connection to the agent lost since \d\d:\d\d:\d\d: all values are old/);
    await shows('#count', /^not known now$/);
    await shows('#until', /^The deadline was \d\d:\d\d:\d\d when the agent was last heard/);
    assert.match(await page.title(), /^not known/);
    // Nobody says any more that work may be taken.
    await shows('#phase', /^●? ?running when the agent was last heard$/);
    await watched.picture('lost-desktop-light');
    await agent.restart();
    await shows('#link', /^live$/);
    await shows('#count', /^1 h (29|28) min/);
    // Its stream lives again, too.
    await notice(agent, { kind: 'drain', reason: 'after the restart' });
    await shows('#notices', /after the restart/);
    assertQuiet(watched, agent, true);
    await watched.context.close();
  });

  test('an agent that hangs is no live one either', async (t) => {
    const agent = await start(t, { shutdowntime: inSecs(5_400) });
    const watched = await openPage(browser);
    await watched.page.goto(`${agent.url}/`);
    await watched.shows('#count', /^1 h/);
    agent.signal('SIGSTOP');
    t.after(() => agent.signal('SIGCONT'));
    await watched.shows('#count', /^not known now$/);
    agent.signal('SIGCONT');
    await watched.shows('#count', /^1 h/);
    await watched.context.close();
  });

  test('a browser whose clock is wrong by an hour shows the same', async (t) => {
    const agent = await start(t, { shutdowntime: inSecs(600) });
    const watched = await openPage(browser);
    await watched.page.addInitScript('{ const now = Date.now; Date.now = () => now() + 3_600_000; }');
    await watched.page.goto(`${agent.url}/`);
    await watched.shows('#count', /^9 min \d\d s$/);
    await watched.context.close();
  });

  test('with the keyboard everything is reached, with a screen reader everything is named', async (t) => {
    const many = Object.fromEntries(Array.from({ length: 30 }, (_, index) => [`site_key_${index}`, index]));
    const agent = await start(t, { shutdowntime: inSecs(5_400), ...many });
    const watched = await openPage(browser);
    const { page, shows } = watched;
    await page.goto(`${agent.url}/`);
    await shows('#features', /site_key_29/);
    const interactive = await page.locator('a[href]:visible, summary:visible, input:visible, button:visible').count();
    assert.ok(interactive >= 7, `${interactive} things to use`);
    const reached = new Set<string>();
    for (let presses = 0; presses < interactive; presses++) {
      await page.keyboard.press('Tab');
      reached.add(await page.evaluate('document.activeElement.outerHTML.slice(0, 200)'));
      assert.notEqual(await page.evaluate('getComputedStyle(document.activeElement).outlineStyle'), 'none', 'seen');
    }
    assert.equal(reached.size, interactive);
    await page.locator('summary').focus();
    await page.keyboard.press('Enter');
    await shows('#line-list', /deadline/);
    await page.locator('#filter').fill('key_7');
    await shows('#features', /Machine features \(1\)/);

    const tree = await page.locator('body').ariaSnapshot();
    for (const part of [
      /- banner:/,
      /- main:/,
      /- contentinfo:/,
      /- navigation "The same for programs"/,
      /- heading "mjf-agent [^"]+" \[level=1\]/,
      ...[
        'Time left',
        'Timeline',
        'Notices',
        'Between site and machine',
        'Payloads',
        'Features',
        'Sources',
        'What happened',
      ].map((name) => new RegExp(`- region "${name}"`)),
      /- timer "Time left":/,
      /- img "Timeline"/,
      /- table "Where the values come from"/,
      /- columnheader "Key"/,
      /- rowheader "site_key_7"/,
      /- img "\d+ readings?, 0 failed/,
      /- status/,
    ])
      assert.match(tree, part);
    // The countdown is no live region: nobody wants to hear each second.
    assert.equal(await page.locator('#now [aria-live], #count[aria-live]').count(), 0);
    await watched.context.close();
  });

  test('no deadline, a thousand payloads and ten thousand keys: bounded, told, and the stream is not needed', async (t) => {
    const agent = await start(t, {});
    const watched = await openPage(browser);
    const { page, shows } = watched;
    await page.goto(`${agent.url}/`);
    await shows('#count', /^no deadline is known$/);
    await watched.picture('no-deadline-desktop-light');

    const rows = Array.from({ length: 1_000 }, (_, index) => manyRow(index));
    const document = JSON.parse((await agent.request('/v1/lifetime')).body.toString());
    document.payloads.running = 1_200;
    const feature = { value: '1', source: 'directory', since: inSecs(-60), stale: true };
    document.machinefeatures = Object.fromEntries(
      Array.from({ length: 10_000 }, (_, index) => [`key_${index}`, feature]),
    );
    Object.assign(document, { deadline: inSecs(4_000), drain_at: inSecs(2_200), stop_at: inSecs(3_880) });
    await page.route('**/v1/events', (route) => route.abort());
    await page.route('**/v1/lifetime', (route) => route.fulfill({ json: document }));
    await page.route('**/v1/payloads', (route) => route.fulfill({ json: rows }));
    await page.reload();
    await shows('#payloads', /job 0\b.*900 more are not shown.*200 payloads belong to other users/);
    assert.equal(await page.locator('#payloads tbody tr').count(), 100);
    await shows('#features', /stale: its source is silent.*9,800 more are not shown; search/);
    await page.locator('#filter').fill('key_9999');
    await shows('#features', /Machine features \(1\)/);
    assert.ok((await page.locator('#line svg *').count()) < 200);
    await page.locator('#filter').fill('key_12');
    await watched.picture('many-desktop-light');
    await page.emulateMedia({ colorScheme: 'dark' });
    await watched.picture('many-desktop-dark');
    for (const size of [TABLET, ZOOMED, SMALL_PHONE, PHONE]) {
      await page.setViewportSize(size);
      assert.equal(await overflow(page), 0, `${size.width} px`);
    }
    await watched.picture('many-phone-dark');
    await watched.context.close();
  });

  test('each phase, wide and narrow, light and dark, without a horizontal scroll', async (t) => {
    const agent = await start(
      t,
      { shutdowntime: inSecs(3 * 86_400) },
      '[source.mjf]\nmachinefeatures = "http://127.0.0.1:1/machinefeatures"\n',
    );
    await register(t, agent, 'pilot-42', { progress: 0.62, needs_secs: 1200 });
    await register(t, agent, 'analysis-7', { grace_secs: 600, can_terminate: true });
    const watched = await openPage(browser, { reducedMotion: 'reduce' });
    const { page, shows } = watched;
    await page.goto(`${agent.url}/`);
    const until = async (secs: number, count: RegExp, phase: RegExp): Promise<void> => {
      agent.hostDirs.set('machine', 'shutdowntime', inSecs(secs));
      await shows('#count', count);
      await shows('#phase', phase);
    };
    const pictures = async (name: string): Promise<void> => {
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.emulateMedia({ colorScheme });
        for (const [size, viewport] of [
          ['desktop', { width: 1280, height: 900 }],
          ['phone', PHONE],
          ['small', SMALL_PHONE],
        ] as const) {
          await page.setViewportSize(viewport);
          // The picture of the timeline is made for the width that it gets.
          await watched.holds(
            `document.querySelector('#line svg')?.viewBox.baseVal.width === document.getElementById('line').clientWidth`,
          );
          assert.equal(await overflow(page), 0, `${name} on ${viewport.width} px`);
          if (size !== 'small') await watched.picture(`${name}-${size}-${colorScheme}`);
        }
      }
      await page.setViewportSize({ width: 1280, height: 900 });
    };
    await shows('#count', /^2 d 23 h/);
    await shows('#sources', /mjf.*✕ failed/);
    await shows('#doubt', /^◷ 1 of 3 sources without an answer: mjf failed$/);
    const running = await page.locator('#icon').getAttribute('href');
    assert.equal(await iconDraws(page), true);
    await pictures('running');
    await until(1_500, /^24 min/, /draining/);
    await pictures('draining');
    assert.notEqual(await page.locator('#icon').getAttribute('href'), running, 'the tab shows the phase');
    await until(110, /^1 min|^\d\d s/, /stopping/);
    await shows('#payloads', /stopping.*SIGTERM done/);
    await pictures('stopping');
    await until(1, /^overdue by \d/, /stopped/);
    assert.match(await page.title(), /^overdue · stopped · mjf-agent 127\.0\.0\.1:\d+$/);
    assert.equal(await iconDraws(page), true);
    await shows('#alarm', /^Overdue: the machine has outlived its deadline/);
    await pictures('overdue');
    assertQuiet(watched, agent);
    await watched.context.close();
  });
});

function manyRow(index: number): object {
  return {
    id: `p-${index}`,
    name: `job ${index}`,
    uid: 1000,
    target: 'process',
    pid: 4000 + index,
    state: index % 10 === 0 ? 'stopping' : 'running',
    deadline: null,
    stop_at: inSecs(3_000 + (index % 7) * 60),
    steps: [
      { signal: 'SIGTERM', hook: null, due: inSecs(3_000 + (index % 7) * 60), state: 'planned' },
      { signal: 'SIGKILL', hook: null, due: inSecs(3_995), state: 'planned' },
    ],
    can_terminate: null,
    needs_until: null,
    progress: (index % 100) / 100,
    final_word: null,
  };
}
