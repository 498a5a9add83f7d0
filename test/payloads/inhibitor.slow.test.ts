/**
 * The delay inhibitor with the real `systemd-inhibit` on a real bus with python3-dbusmock's logind, which passes real file
 * descriptors; and with commands in its place that misbehave.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, before, describe, it, mock } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import pino from 'pino';
import { type Inhibitor, type InhibitorOptions, openInhibitor } from '../../agent/payloads/inhibitor.ts';
import { type LogindHost, logindHostLacks, startLogindHost } from '../hosts/logind.ts';
import { isAlive, untilDead } from '../support/processes.ts';

const INHIBIT = ['/usr/bin/systemd-inhibit', '/bin/systemd-inhibit'].find((file) => fs.existsSync(file));
const lacks = logindHostLacks() ?? (INHIBIT === undefined ? 'systemd-inhibit is not installed' : undefined);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** Generous: nothing waits so long unless something is broken. */
const PATIENCE_MS = 60_000;
/** So that a test need not wait for the second attempt. */
const SOON = { first: 10, last: 100 };

let open: Inhibitor[] = [];
afterEach(async () => {
  for (const inhibitor of open) inhibitor.close();
  open = [];
  await until('no child is left', () => children().length === 0);
});

function start(options: Partial<InhibitorOptions>) {
  const lines: { readonly event: string; readonly msg: string; readonly level: number }[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => lines.push(JSON.parse(line)) });
  const inhibitor = openInhibitor({ log, env: process.env, retryMs: SOON, ...options });
  open.push(inhibitor);
  return {
    inhibitor,
    /** What an operator sees. */
    told: () => lines.filter(({ level }) => level >= 30).map(({ msg }) => msg),
  };
}

async function until(what: string, is: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = Date.now() + PATIENCE_MS;
  while (!(await is())) {
    if (Date.now() > endMs) throw new Error(`in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Our own children that hold or ask for a lock, by what they run. */
function children(): readonly number[] {
  return fs
    .readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 0 && parentOf(pid) === process.pid && /inhibit\0/.test(commandOf(pid)) && isAlive(pid));
}
function parentOf(pid: number): number | undefined {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return undefined;
  }
}
function commandOf(pid: number): string {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'latin1');
  } catch {
    return '';
  }
}

describe('the delay inhibitor, held by systemd-inhibit', { skip: lacks ?? false }, () => {
  let host: LogindHost;
  before(async () => {
    host = await startLogindHost();
  });
  after(() => host.close());

  const holders = async (): Promise<unknown[]> => JSON.parse(await host.tell('inhibitors'));
  const isFree = async (): Promise<boolean> => (await holders()).length === 0;

  it('is held while payloads live, and known to be held only when logind has granted it', async () => {
    const { inhibitor, told } = start({ busAddress: host.address });
    assert.equal(inhibitor.held(), false);
    assert.deepEqual(await holders(), []);
    inhibitor.update(true);
    assert.equal(inhibitor.held(), false, 'not before logind has said so');
    await until('held', inhibitor.held);
    assert.deepEqual(await holders(), [['shutdown', 'mjf-agent', 'payloads are running', 'delay']]);
    inhibitor.update(true);
    assert.equal(children().length, 1);
    inhibitor.update(false);
    assert.equal(inhibitor.held(), false);
    await until('free', isFree);
    await until('no child', () => children().length === 0);
    assert.deepEqual(told(), []);
  });

  it('payloads that come and go quickly never make two children, and the last word counts', async () => {
    const { inhibitor, told } = start({ busAddress: host.address });
    for (let round = 0; round < 30; round += 1) {
      inhibitor.update(true);
      assert.ok(children().length <= 1);
      // Sometimes in the middle of asking, sometimes held.
      if (round % 3 === 1) await until('held', inhibitor.held);
      else await new Promise((resolve) => setTimeout(resolve, round % 7));
      inhibitor.update(false);
      assert.ok(children().length <= 1);
    }
    inhibitor.update(true);
    await until('held', inhibitor.held);
    assert.equal((await holders()).length, 1);
    inhibitor.update(false);
    await until('free', isFree);
    assert.deepEqual(told(), []);
  });

  it('a lock that is lost is taken again, with one line', async () => {
    const { inhibitor, told } = start({ busAddress: host.address });
    inhibitor.update(true);
    for (let round = 0; round < 3; round += 1) {
      await until('held', inhibitor.held);
      const [child = 0] = children();
      process.kill(child, 'SIGKILL');
      await untilDead(child);
      await until('seen', () => !inhibitor.held());
    }
    await until('held again', inhibitor.held);
    assert.equal((await holders()).length, 1);
    assert.deepEqual(told(), [
      'the delay inhibitor was lost: systemd-inhibit ended with SIGKILL; trying again as long as payloads run',
    ]);
  });

  it('a logind that is not there is asked again, and told of once', async () => {
    const { inhibitor, told } = start({ busAddress: host.address });
    await host.tell('leave');
    inhibitor.update(true);
    await until('told', () => told().length > 0);
    const attempts = new Set<number>();
    await until('several attempts', () => {
      for (const pid of children()) attempts.add(pid);
      return attempts.size >= 3;
    });
    assert.equal(inhibitor.held(), false);
    await host.tell('come');
    await until('held', inhibitor.held);
    assert.equal(told().length, 1);
    assert.match(told()[0] ?? '', /^no delay inhibitor: Failed to inhibit: .*login1.*; trying again/);
  });

  it('nobody goes on trying when the last payload has ended', async () => {
    const { inhibitor } = start({ busAddress: host.address });
    await host.tell('leave');
    inhibitor.update(true);
    await until('an attempt', () => children().length === 1);
    inhibitor.update(false);
    await until('no child', () => children().length === 0);
    await host.tell('come');
    await new Promise((resolve) => setTimeout(resolve, 3 * SOON.last));
    assert.deepEqual([children(), await holders()], [[], []]);
  });

  it('a new payload asks at once, whenever the next attempt was planned', async () => {
    const { inhibitor, told } = start({ busAddress: host.address, retryMs: { first: 1e8, last: 1e8 } });
    await host.tell('leave');
    inhibitor.update(true);
    await until('told', () => told().length > 0);
    await host.tell('come');
    inhibitor.update(false);
    inhibitor.update(true);
    await until('held', inhibitor.held);
  });

  it('is given back while logind still hangs over the question', async () => {
    const { inhibitor } = start({ busAddress: host.address });
    host.freeze();
    try {
      inhibitor.update(true);
      await until('an attempt', () => children().length === 1);
      // At once, not only when it is pushed.
      mock.timers.enable({ apis: ['setTimeout'] });
      inhibitor.update(false);
      const endMs = Date.now() + PATIENCE_MS;
      while (children().length > 0 && Date.now() < endMs) await new Promise((resolve) => setImmediate(resolve));
      assert.deepEqual(children(), []);
    } finally {
      mock.timers.reset();
      host.thaw();
    }
    await until('free', isFree);
  });

  it('the bus may be named by the environment', async () => {
    const { inhibitor } = start({ env: { PATH: process.env['PATH'], DBUS_SYSTEM_BUS_ADDRESS: host.address } });
    inhibitor.update(true);
    await until('held', inhibitor.held);
    assert.equal((await holders()).length, 1);
  });

  it('closed, it is free and stays so', async () => {
    const { inhibitor } = start({ busAddress: host.address });
    inhibitor.update(true);
    await until('held', inhibitor.held);
    inhibitor.close();
    inhibitor.update(true);
    assert.equal(inhibitor.held(), false);
    await until('free', isFree);
    await until('no child', () => children().length === 0);
  });

  for (const [what, last] of [
    ['an agent that stops', 'inhibitor.close();'],
    ['an agent that ends without a word', ''],
    ['an agent that is killed', "process.kill(process.pid, 'SIGKILL');"],
  ] as const)
    it(`${what} keeps neither itself nor the lock alive`, async () => {
      const script = `import pino from 'pino';
        import { openInhibitor } from './agent/payloads/inhibitor.ts';
        const inhibitor = openInhibitor({ log: pino({ level: 'silent' }), env: process.env, busAddress: process.argv[1] });
        inhibitor.update(true);
        const wait = setInterval(() => {
          if (!inhibitor.held()) return;
          clearInterval(wait);
          console.log('held');
          ${last}
        }, 5);`;
      const run = promisify(execFile)(
        process.execPath,
        ['--import', 'tsx', '--input-type=module', '-e', script, host.address],
        { cwd: ROOT, timeout: PATIENCE_MS, killSignal: 'SIGKILL' },
      );
      const outcome = await run.catch((error: { killed: boolean; stdout: string }) => error);
      assert.equal(outcome.stdout, 'held\n');
      if ('killed' in outcome) assert.equal(outcome.killed, false, 'it did not end by itself');
      await until('free', isFree);
    });
});

describe('the delay inhibitor, where the command is another', () => {
  let directory: string;
  before(() => {
    directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-inhibit-'));
  });
  after(() => fs.rmSync(directory, { recursive: true, force: true }));

  /** A `systemd-inhibit` of this shell text, in front of the PATH; `$LOG` is a file that it may write to. */
  function standIn(text: string): { readonly env: Record<string, string>; readonly log: () => string } {
    const bin = fs.mkdtempSync(path.join(directory, 'bin-'));
    const log = path.join(bin, 'log');
    fs.writeFileSync(path.join(bin, 'systemd-inhibit'), `#!/bin/sh\nLOG=${log}\n${text}\n`, { mode: 0o755 });
    return {
      env: { PATH: `${bin}:/usr/bin:/bin` },
      log: () => (fs.existsSync(log) ? fs.readFileSync(log, 'utf8') : ''),
    };
  }

  it('not installed: said once, not tried again and again', async () => {
    const { inhibitor, told } = start({ env: { PATH: directory } });
    for (let payload = 0; payload < 5; payload += 1) {
      inhibitor.update(true);
      assert.equal(inhibitor.held(), false);
      inhibitor.update(false);
    }
    assert.deepEqual(told(), ['no delay inhibitor: systemd-inhibit cannot be started (not_found)']);
  });

  it('installed meanwhile, it is found by the next payload', async () => {
    const bin = fs.mkdtempSync(path.join(directory, 'bin-'));
    const { inhibitor } = start({ env: { PATH: bin } });
    inhibitor.update(true);
    inhibitor.update(false);
    fs.writeFileSync(path.join(bin, 'systemd-inhibit'), '#!/bin/sh\nexec /bin/cat\n', { mode: 0o755 });
    inhibitor.update(true);
    await until('held', inhibitor.held);
  });

  it('refused: the words of systemd-inhibit, its first line, once', async () => {
    const { env, log } = standIn(
      'echo try >> $LOG; echo "Failed to inhibit: Access denied" >&2; echo more >&2; exit 1',
    );
    const { inhibitor, told } = start({ env });
    inhibitor.update(true);
    await until('several attempts', () => log().split('\n').length > 4);
    assert.equal(inhibitor.held(), false);
    assert.deepEqual(told(), [
      'no delay inhibitor: Failed to inhibit: Access denied; trying again as long as payloads run',
    ]);
  });

  it('endless complaints are bounded', async () => {
    const { env } = standIn('head -c 1000000 /dev/zero | tr "\\0" x >&2; exit 1');
    const { inhibitor, told } = start({ env });
    inhibitor.update(true);
    await until('told', () => told().length > 0);
    assert.ok((told()[0] ?? '').length < 300);
  });

  it('an end without a word is named by its code', async () => {
    const { env } = standIn('exit 3');
    const { inhibitor, told } = start({ env });
    inhibitor.update(true);
    await until('told', () => told().length > 0);
    assert.match(told()[0] ?? '', /systemd-inhibit ended with 3/);
  });

  it('it is run as documented, with nothing of our environment but what it needs', async () => {
    const { env, log } = standIn(
      'for word in "$@"; do echo "$word" >> $LOG; done; env | cut -d= -f1 | sort | tr "\\n" " " >> $LOG; exec cat',
    );
    const { inhibitor } = start({ env: { ...env, SECRET: 'x' }, busAddress: 'unix:path=/nonexistent' });
    inhibitor.update(true);
    await until('held', inhibitor.held);
    assert.deepEqual(log().trim().split('\n').slice(0, -1), [
      '--what=shutdown',
      '--mode=delay',
      '--who=mjf-agent',
      '--why=payloads are running',
      'cat',
    ]);
    assert.doesNotMatch(log(), /SECRET/);
    assert.match(log(), /DBUS_SYSTEM_BUS_ADDRESS/);
  });

  it('a child that does not mind the end of its input is pushed, at last killed', async () => {
    const { env, log } = standIn('trap "echo TERM >> $LOG" TERM; echo held; while :; do sleep 0.05; done');
    const { inhibitor } = start({ env });
    inhibitor.update(true);
    await until('held', inhibitor.held);
    inhibitor.update(false);
    await until('no child', () => children().length === 0);
    assert.match(log(), /TERM/);
  });

  it('who is wanted again while the old child still ends waits for that, and then has one', async () => {
    const { env, log } = standIn('echo start >> $LOG; cat; sleep 0.2; echo end >> $LOG');
    const { inhibitor } = start({ env });
    inhibitor.update(true);
    await until('held', inhibitor.held);
    inhibitor.update(false);
    inhibitor.update(true);
    inhibitor.update(false);
    inhibitor.update(true);
    assert.equal(inhibitor.held(), false);
    await until('held', inhibitor.held);
    assert.deepEqual(log().trim().split('\n'), ['start', 'end', 'start']);
    assert.equal(children().length, 1);
  });
});
