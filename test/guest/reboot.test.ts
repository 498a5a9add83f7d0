/**
 * The guest boots anew in mid-drain, once in order and once by a reset without a goodbye. What the host and the operator have
 * announced is known again from the first moment on; what was done to the payloads of the former boot is not done again.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type MjfHost, startMjfHost } from '../hosts/mjf.ts';
import { type Guest, type GuestHost, guestCase } from './bed.ts';
import { FIRST_DOCUMENT } from './files.ts';

/** Within the half hour in which a machine drains, and far enough away for two boots of an emulated one. */
const SHARE_MS = 20 * 60_000;
const OPERATOR_MS = 25 * 60_000;
/** Less than the payload's lead, so that its signal comes with the word. */
const SOON_MS = 60_000;
/** A payload with this much less than the rest of the time as its lead is due so soon after it was started. */
const DUE_MS = 20_000;
/** The guard is started last of all. */
const GUARD_MS = 120_000;
const RESTART_MS = 120_000;
/** The payload's two seconds, half a minute of the guard for a site that takes no last word, and systemd's own way down. */
const DOWN_MS = 180_000;
/** What is left from before goes out at once; an emulated machine needs its time. */
const WORD_MS = 60_000;
const LOOK_MS = 200;
const STATE = '/var/lib/mjf-agent/state.json';
const DOCUMENT = '/run/mjf-agent/lifetime.json';
const SITE = '/etc/mjf-agent/conf.d/site.toml';
const LAST_WORD = 'shutdown_message';
const SECOND = `trap "echo second-term; exit 0" TERM; echo second-started; while :; do sleep 1000 & wait; done`;

interface Document {
  readonly phase: string;
  readonly deadline: number | null;
  readonly notices: readonly { readonly id: string; readonly deadline: number; readonly first_seen: number }[];
  readonly payloads: Readonly<Record<string, number>>;
}

rebootCase('rebooted in mid-drain', async (guest, site) => {
  // A site that is away for a while must not miss it.
  site.fault(`joboutputs/${LAST_WORD}`, { is: 'status', status: 503 });
  await guest.shell('systemctl reboot');
  const term = await guest.line(/^term$/);
  const saved = await guest.line(/^saved$/);
  assert.ok(saved.atMs - term.atMs >= 1900, 'it had the time that it needs');
  await guest.nextBoot(DOWN_MS);
  assert.equal(saidIn(guest, 1).filter((text) => text === 'term').length, 1);
  assert.deepEqual(wordsTo(site), []);
  site.recover();
  return { checkpoint: 'saved', words: ['100 Shutdown as requested by the host'] };
});

rebootCase('reset in mid-drain', async (guest) => {
  await guest.monitor.execute('system_reset');
  await guest.nextBoot();
  assert.ok(!saidIn(guest, 1).includes('term'), 'nobody was asked');
  return { checkpoint: 'none', words: [] };
});

interface Left {
  readonly checkpoint: string;
  /** What the site hears of the former boot. */
  readonly words: readonly string[];
}

function rebootCase(name: string, reboot: (guest: Guest, site: MjfHost) => Promise<Left>): void {
  let share = '';
  let site: MjfHost | undefined;
  guestCase(
    name,
    async (t, directory): Promise<GuestHost> => {
      share = path.join(directory, 'share');
      fs.mkdirSync(share);
      fs.writeFileSync(path.join(share, 'hs06'), '87.5\n');
      const started = await startMjfHost();
      t.after(() => started.close());
      site = started;
      return { share, metadata: { port: started.port }, reboots: true };
    },
    async (guest, figures) => {
      assert.ok(site);
      await guest.shell('until systemctl -q is-active mjf-agent-guard; do sleep 0.5; done', GUARD_MS);
      const report = `[report.joboutputs]\\nurl = "http://169.254.169.254/joboutputs"\\n`;
      await guest.shell(`printf '${report}' > ${SITE}; systemctl restart mjf-agent`, RESTART_MS);

      const deadline = announce(share, SHARE_MS);
      await guest.shell(`mjf-agent notice --in ${OPERATOR_MS / 60_000}m --reason "rack move"`);
      await guest.shell(
        `until grep -q '"directory/shutdowntime"' ${DOCUMENT} && grep -q rack ${DOCUMENT}; do sleep 0.2; done`,
      );
      await guest.shell(`until grep -q rack ${STATE} && grep -q ${deadline} ${STATE}; do sleep 0.2; done`);
      // Whoever has announced something has a look at it; by then it is on the disk for good.
      assert.match(await guest.shell('mjf-agent status'), /rack move/);
      const before = await documentOf(guest);
      assert.deepEqual(
        [before.phase, before.deadline, before.payloads],
        ['draining', deadline, { running: 1, stopping: 0, stopped: 0 }],
      );
      assert.deepEqual(
        before.notices.map(({ id }) => id),
        ['directory/shutdowntime', 'operator/1'],
      );

      const left = await reboot(guest, site);
      await guest.line(/^started$/, RESTART_MS);
      const first = JSON.parse(await guest.shell(`cat ${FIRST_DOCUMENT}`)) as Document;
      assert.deepEqual([first.phase, first.deadline], ['draining', deadline], 'known from the first moment on');
      assert.deepEqual(first.notices, before.notices, 'and nothing else is: that reboot has happened');
      assert.match(await guest.shell('ls /var/lib/mjf-agent'), /^state\.json$/m, 'none of it was set aside');
      assert.equal(
        (await guest.shell('cat /var/lib/job/checkpoint 2> /dev/null || echo none')).trim(),
        left.checkpoint,
      );
      await heard(site, left.words.length);
      assert.deepEqual(wordsTo(site), left.words);

      const leadMs = deadline * 1000 - Date.now() - DUE_MS;
      const exec = `mjf-agent exec --name second --grace ${Math.floor(leadMs / 1000)}s -- /bin/sh -c '${SECOND}'`;
      await guest.shell(`systemd-run -q --unit=second --uid=daemon -p StandardOutput=file:/dev/ttyS1 ${exec}`);
      await guest.line(/^second-started$/);
      await guest.line(/^second-term$/);
      assert.deepEqual((await documentOf(guest)).notices, before.notices);
      assert.ok(!saidIn(guest, 2).includes('term'), 'the other has its time');

      const changedMs = Date.now();
      announce(share, SOON_MS);
      figures.signalMs = (await guest.line(/^term$/)).atMs - changedMs;
      await guest.line(/^saved$/);
      const said = saidIn(guest, 2);
      assert.deepEqual(
        ['started', 'second-term', 'term', 'saved'].map((word) => said.filter((each) => each === word).length),
        [1, 1, 1, 1],
        'each once',
      );
      const journal = await guest.shell('journalctl -q -b -u mjf-agent -o cat --no-pager');
      assert.doesNotMatch(journal, /step_uncertain|state_damaged|state_of_other_machine|journal_damaged/);
    },
  );
}

/** Gives the instant, UNIX seconds. */
function announce(share: string, inMs: number): number {
  const secs = Math.floor((Date.now() + inMs) / 1000);
  fs.writeFileSync(path.join(share, '.new'), String(secs));
  fs.renameSync(path.join(share, '.new'), path.join(share, 'shutdowntime'));
  return secs;
}

const documentOf = async (guest: Guest): Promise<Document> =>
  JSON.parse(await guest.shell(`cat ${DOCUMENT}`)) as Document;

const saidIn = (guest: Guest, boot: number): readonly string[] =>
  guest.lines().flatMap((line) => (line.boot === boot ? [line.text] : []));

async function heard(site: MjfHost, words: number): Promise<void> {
  const untilMs = Date.now() + WORD_MS;
  while (wordsTo(site).length < words && Date.now() < untilMs) await sleep(LOOK_MS);
}

const wordsTo = (site: MjfHost): readonly string[] =>
  site.taken.flatMap(({ name, text }) => (name === LAST_WORD ? [text] : []));
