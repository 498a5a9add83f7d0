/**
 * packaging/examples as their readers would run them, under the built daemon with real deadlines: they work to their end, go
 * on where they were, stop in time by themselves or by SIGTERM, and say what they promise to say.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { inSecs, startAgent, type TestAgent } from '../support/agent.ts';
import type { Ending } from '../support/processes.ts';
import { killAtExit, PROGRAM, WAIT_MS } from '../support/program.ts';

const EXAMPLES = path.resolve(import.meta.dirname ?? __dirname, '../../packaging/examples');
/** Of the payload, and of a machine that is stopped: long enough for a busy machine to write a checkpoint. */
const GRACE_SECS = 20;
const EVENT_SECS = 1;

const lacks = (tool: string): string | false =>
  spawnSync(tool, ['--version'], { stdio: 'ignore' }).error === undefined ? false : `needs ${tool}`;

/** What runs it, in a directory that holds a copy of all examples; `make` comes before. */
const PAYLOADS: readonly {
  readonly name: string;
  readonly file: string;
  readonly command: readonly string[];
  readonly make?: readonly string[];
  readonly needs: readonly string[];
}[] = [
  { name: 'payload.sh, by dash', file: 'payload.sh', command: ['dash', './payload.sh'], needs: ['curl'] },
  { name: 'payload.sh, by bash', file: 'payload.sh', command: ['bash', './payload.sh'], needs: ['curl', 'bash'] },
  { name: 'payload.py', file: 'payload.py', command: ['python3', './payload.py'], needs: ['python3'] },
  {
    name: 'payload.cpp',
    file: 'payload.cpp',
    command: ['./payload'],
    make: ['g++', '-std=c++17', '-Wall', '-Wextra', '-Werror', '-o', 'payload', 'payload.cpp'],
    needs: ['g++', 'curl'],
  },
];

interface Bed {
  readonly agent: TestAgent;
  /** Where the payload works. */
  readonly work: string;
  /** Its file in there; undefined where there is none. */
  read(name: string): string | undefined;
  exec(command: readonly string[], env?: Readonly<Record<string, string>>): Running;
  /** What the site has got as the machine's last word. */
  lastWord(): Promise<string>;
}

interface Running {
  readonly ended: Promise<{ readonly code: number | null; readonly output: string }>;
  /** Resolves when it has written this. */
  said(match: RegExp): Promise<void>;
}

async function startBed(t: Ending): Promise<Bed> {
  const agent = await startAgent(t, {
    config: '[stop]\ndrain = "10m"\n',
    channels: (dir) => [
      ...[
        '--machinefeatures',
        path.join(dir, 'host/machinefeatures'),
        '--jobfeatures',
        path.join(dir, 'host/jobfeatures'),
      ],
      ...['--joboutputs', path.join(dir, 'outputs')],
    ],
    env: (dir) => {
      fs.mkdirSync(path.join(dir, 'outputs'), { recursive: true });
      return {};
    },
  });
  const work = path.join(agent.dir, 'work');
  const bin = path.join(agent.dir, 'bin');
  fs.cpSync(EXAMPLES, work, { recursive: true });
  fs.mkdirSync(bin);
  fs.writeFileSync(path.join(bin, 'mjf-agent'), `#!/bin/sh\nexec '${process.execPath}' '${PROGRAM}' "$@"\n`, {
    mode: 0o755,
  });
  const read = (name: string): string | undefined => {
    try {
      return fs.readFileSync(path.join(work, name), 'utf8');
    } catch {
      return undefined;
    }
  };
  return {
    agent,
    work,
    read,
    exec: (command, env = {}) =>
      watch(
        spawn(path.join(bin, 'mjf-agent'), ['exec', '--grace', `${GRACE_SECS}s`, '--', ...command], {
          cwd: work,
          env: {
            PATH: `${bin}:${process.env['PATH']}`,
            MJF_AGENT_RUNTIME_DIR: agent.runtimeDir,
            EVENT_SECS: String(EVENT_SECS),
            LEAD_SECS: String(GRACE_SECS),
            ...env,
          },
          stdio: ['ignore', 'pipe', 'pipe'],
        }),
        t,
      ),
    async lastWord() {
      const file = path.join(agent.dir, 'outputs/shutdown_message');
      await eventually('a last word', () => fs.existsSync(file));
      return fs.readFileSync(file, 'utf8');
    },
  };
}

function watch(child: ChildProcess, t: Ending): Running {
  killAtExit(child);
  let output = '';
  const lookers = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      for (const look of lookers) look();
    });
  const ended = new Promise<{ code: number | null; output: string }>((resolve) =>
    child.once('close', (code) => {
      resolve({ code, output });
      for (const look of lookers) look();
    }),
  );
  // SIGTERM, so that exec takes its payload along.
  t.after(async () => {
    child.kill('SIGTERM');
    await ended;
  });
  return {
    ended,
    said: (match) =>
      eventually(
        `${match}`,
        () => match.test(output),
        () => output,
      ),
  };
}

async function eventually(what: string, holds: () => boolean, seen: () => string = () => ''): Promise<void> {
  for (const giveUpAt = Date.now() + WAIT_MS; !holds(); await new Promise((resolve) => setTimeout(resolve, 20)))
    if (Date.now() > giveUpAt) throw new Error(`never: ${what}\n${seen()}`);
}

/** Both write a number, one of them as JSON. */
const checkpointOf = (bed: Bed): number => Number(bed.read('checkpoint') ?? Number.NaN);

for (const { name, file, command, make, needs } of PAYLOADS) {
  const skip = needs.map(lacks).find((reason) => reason !== false) ?? false;
  describe(`examples: ${name}`, { skip, concurrency: 2 }, () => {
    async function start(t: Ending): Promise<Bed> {
      assert.ok(fs.existsSync(path.join(EXAMPLES, file)));
      const bed = await startBed(t);
      if (make !== undefined) {
        const [tool = '', ...args] = make;
        const made = spawnSync(tool, args, { cwd: bed.work, encoding: 'utf8' });
        assert.equal(made.status, 0, made.stderr);
      }
      return bed;
    }

    it('works to its end where nothing is announced, from its checkpoint on, and says so', async (t) => {
      const bed = await start(t);
      fs.writeFileSync(path.join(bed.work, 'checkpoint'), '2\n');
      const run = bed.exec(command, { EVENTS: '5' });
      const busy = await bed.agent.until('progress', ({ can_terminate: can }) => (can?.progress ?? 0) > 0);
      assert.equal(busy.can_terminate?.now, false);
      const { code, output } = await run.ended;
      assert.equal(code, 0, output);
      assert.equal(checkpointOf(bed), 5);
      assert.match(await bed.lastWord(), /^200 .*5/);
    });

    it('takes no event that would not be ready in time: its own word, and 75', async (t) => {
      const bed = await start(t);
      const deadline = inSecs(GRACE_SECS + 12);
      bed.agent.hostDirs.set('machine', 'shutdowntime', String(deadline));
      await bed.agent.until('a deadline', (lifetime) => lifetime.deadline === deadline);
      const { code, output } = await bed.exec(command, { EVENTS: '100000', EVENT_SECS: '3' }).ended;
      assert.equal(code, 75, output);
      assert.doesNotMatch(output, /SIGTERM/, 'it went by itself');
      assert.ok(checkpointOf(bed) >= 0, bed.read('checkpoint'));
      assert.ok(Date.now() / 1000 < deadline);
      assert.match(await bed.lastWord(), /^100 stopped before the deadline/);
    });

    it('a shutdown comes suddenly: on SIGTERM it writes its checkpoint, in time, and exec says 75', async (t) => {
      const bed = await start(t);
      const run = bed.exec(command, { EVENTS: '100000', EVENT_SECS: '30' });
      await bed.agent.until(
        'a payload that needs time',
        ({ can_terminate: can }) => typeof can?.must_not_until === 'number',
      );
      // It is inside an event now, which it does not get to the end of.
      const deadline = inSecs(GRACE_SECS);
      bed.agent.hostDirs.set('machine', 'shutdowntime', String(deadline));
      const { code, output } = await run.ended;
      assert.equal(code, 75, output);
      assert.match(output, /SIGTERM: stopped after 0 /);
      assert.equal(checkpointOf(bed), 0);
      assert.ok(Date.now() / 1000 < deadline, 'before its deadline, hence not killed');
      assert.match(await bed.lastWord(), /^100 /);
    });
  });
}

describe('examples: pilot.py', { skip: lacks('python3'), concurrency: 2 }, () => {
  const pilot = ['python3', './pilot.py'];
  const queue = (bed: Bed, ...lines: readonly string[]): void =>
    fs.writeFileSync(path.join(bed.work, 'queue'), lines.map((line) => `${line}\n`).join(''));

  it('works until there is nothing more, and tells the site so', async (t) => {
    const bed = await startBed(t);
    queue(bed, 'echo one >> done', 'echo two >> done');
    const { code, output } = await bed.exec(pilot).ended;
    assert.equal(code, 0, output);
    assert.equal(bed.read('done'), 'one\ntwo\n');
    assert.match(await bed.lastWord(), /^300 no more work/);
  });

  it('fetches nothing once the machine drains, and finishes what it has', async (t) => {
    const bed = await startBed(t);
    queue(bed, 'echo begun; while [ ! -e go ]; do sleep 0.05; done; echo one > done', 'echo two > never');
    const run = bed.exec(pilot, { NEED_SECS: '1' });
    await run.said(/begun/);
    bed.agent.hostDirs.set('machine', 'shutdowntime', String(inSecs(300)));
    await bed.agent.until('drain', ({ phase }) => phase === 'draining');
    fs.writeFileSync(path.join(bed.work, 'go'), '');
    const { code, output } = await run.ended;
    assert.equal(code, 0, output);
    assert.equal(bed.read('done'), 'one\n');
    assert.equal(bed.read('never'), undefined);
    assert.equal(bed.read('queue'), 'echo two > never\n');
    assert.match(await bed.lastWord(), /^100 /);
  });

  it('fetches nothing that would not be ready, long before the drain', async (t) => {
    const bed = await startBed(t);
    queue(bed, 'echo two > never');
    const deadline = inSecs(1_800);
    bed.agent.hostDirs.set('machine', 'shutdowntime', String(deadline));
    await bed.agent.until('a deadline', (lifetime) => lifetime.deadline === deadline && lifetime.phase === 'running');
    const { code, output } = await bed.exec(pilot, { NEED_SECS: '3600' }).ended;
    assert.equal(code, 0, output);
    assert.equal(bed.read('queue'), 'echo two > never\n');
    assert.match(await bed.lastWord(), /^100 no new work: too late/);
  });

  it('gives back the work in which it is stopped', async (t) => {
    const bed = await startBed(t);
    queue(bed, 'echo begun; trap "echo saved > done; exit 0" TERM; sleep 1000 & wait $!');
    const run = bed.exec(pilot);
    await run.said(/begun/);
    bed.agent.hostDirs.set('machine', 'shutdowntime', String(inSecs(GRACE_SECS)));
    const { code, output } = await run.ended;
    assert.equal(code, 75, output);
    assert.equal(bed.read('done'), 'saved\n');
    assert.match(bed.read('queue') ?? '', /^echo begun/);
    assert.match(await bed.lastWord(), /^100 /);
  });
});

describe('examples: container.sh', () => {
  for (const [engine, expected] of [
    ['podman', /^podman run .*--volume \/run\/mjf-agent:\/run\/mjf-agent:ro .*--env MJF_PAYLOAD_URL IMAGE do it$/m],
    ['apptainer', /^apptainer exec --bind \/run\/mjf-agent:\/run\/mjf-agent:ro IMAGE do it$/m],
  ] as const)
    it(`${engine} gets the files, the payload's own variables, and its signals`, async (t) => {
      const bed = await startBed(t);
      pretend(bed, engine, 'echo "$MJF_PAYLOAD_URL|$JOBFEATURES"; trap "echo told; exit 0" TERM; sleep 1000 & wait $!');
      const run = bed.exec(['./container.sh', engine, 'IMAGE', 'do', 'it'], { GRACE: `${GRACE_SECS}s` });
      await run.said(/^http:.*\/v1\/payloads\/.*\|.*\/views\/.*\/jobfeatures$/m);
      bed.agent.hostDirs.set('machine', 'shutdowntime', String(inSecs(GRACE_SECS)));
      const { code, output } = await run.ended;
      assert.equal(code, 75, output);
      assert.match(output, expected);
      assert.match(output, /told/);
    });

  it('a service gets the machine’s own', async (t) => {
    const bed = await startBed(t);
    pretend(bed, 'podman', 'cat mjf.env');
    const { code, output } = await bed.exec(['./container.sh', 'service', 'IMAGE']).ended;
    assert.equal(code, 0, output);
    assert.match(output, /^podman run --detach .*--env-file mjf\.env IMAGE$/m);
    assert.ok(output.includes(`MACHINEFEATURES=${bed.agent.runtimeDir}/machinefeatures\n`), output);
  });

  /** No images here: a stand-in says how it was called, and does what the container would. */
  function pretend(bed: Bed, engine: string, script: string): void {
    const file = path.join(bed.agent.dir, 'bin', engine);
    fs.writeFileSync(file, `#!/bin/sh\necho "${engine} $*"\n${script}\n`, { mode: 0o755 });
  }
});

describe('examples: payload.service', () => {
  const analyze = (file: string) => spawnSync('systemd-analyze', ['verify', '--man=no', file], { encoding: 'utf8' });

  it('has nothing that systemd finds fault with', { skip: lacks('systemd-analyze') }, async (t) => {
    const dir = fs.mkdtempSync('/tmp/mjf-agent-unit-');
    t.after(() => fs.rmSync(dir, { recursive: true }));
    // The program need not be installed here, nor the user's own.
    const text = fs
      .readFileSync(path.join(EXAMPLES, 'payload.service'), 'utf8')
      .replace('/usr/bin/mjf-agent', '/bin/true');
    const file = path.join(dir, 'simulation.service');
    fs.writeFileSync(file, text);
    const { status, stderr } = analyze(file);
    assert.deepEqual([status, complaints(stderr)], [0, []]);
    fs.writeFileSync(file, text.replace('SuccessExitStatus', 'SuccesExitStatus'));
    assert.notDeepEqual(complaints(analyze(file).stderr), [], 'it finds what is wrong');
  });

  const complaints = (text: string): readonly string[] =>
    text.split('\n').filter((line) => line.includes('simulation'));
});
