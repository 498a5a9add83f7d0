/**
 * mjf.md, "Programs that read it today": GlideinWMS `check_wn_drainstate.sh`. A shell script that takes a directory, else a
 * URL through wget; `shutdowntime_job` and `shutdowntime` must each be `^-?[0-9]+$` or absent; what lies in the past, or 0,
 * preempts now; older releases drain on any announced time. Its rules as a script of our own, run by the real /bin/sh.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test, { describe } from 'node:test';
import { promisify } from 'node:util';
import { inSecs, type TestAgent } from '../support/agent.ts';
import { announce, cancel, startSite, variables } from './site.ts';

const run = promisify(execFile);

/** `newline`-safe: a value with a line feed inside must be seen as broken, so no line-wise tool may judge it. */
const SCRIPT = `
now=$(date +%s)
fetch() {
  case "$1" in
    http://*|https://*)
      if command -v wget >/dev/null 2>&1; then wget -q -O - "$1"; else "$NODE" -e "$NODE_WGET" "$1"; fi ;;
    *) [ -f "$1" ] && cat "$1" ;;
  esac
}
state=run
for place in "$JOBFEATURES/shutdowntime_job" "$MACHINEFEATURES/shutdowntime"; do
  if content=$(fetch "$place"; code=$?; printf x; exit $code); then
    value=\${content%x}
    # One trailing line feed is what command substitution takes off anyway.
    value=\${value%"
"}
    digits=\${value#-}
    case "$digits" in ''|*[!0-9]*) echo "broken $place"; exit 1 ;; esac
    if [ "$value" -le "$now" ]; then state=preempt; break; fi
    [ "$RELEASE" = old ] && state=drain
    [ "$RELEASE" = new ] && state="until $value"
  fi
done
echo "$state"
`;
/** For machines without wget: like \`wget -q -O -\`, 0 and the body for a 200, 8 for an error of the server. */
const NODE_WGET = `require('node:http').get(process.argv[1], (r) => {
  r.pipe(process.stdout); process.exitCode = r.statusCode === 200 ? 0 : 8; });`;

/** Standard output of the check. */
async function check(base: string, release: 'old' | 'new'): Promise<string> {
  const env = {
    PATH: process.env['PATH'],
    NODE: process.execPath,
    NODE_WGET,
    RELEASE: release,
    ...variables(base),
  };
  const { stdout } = await run('/bin/sh', ['-c', SCRIPT], { env }).catch((error: { stdout: string }) => error);
  return stdout.trim();
}

/** Each release on the directory and on the URL; all four must agree within their release. */
async function expectBoth(agent: TestAgent, expected: { readonly old: string; readonly new: string }): Promise<void> {
  const seen = await Promise.all(
    [agent.runtimeDir, agent.url].flatMap((base) => [check(base, 'old'), check(base, 'new')]),
  );
  assert.deepEqual(seen, [expected.old, expected.new, expected.old, expected.new]);
}

// Side by side: mostly they wait for a cancel to be confirmed.
describe('GlideinWMS', { concurrency: true }, () => {
  test('the script refuses what the real one refuses', async (t) => {
    const dir = fs.mkdtempSync(path.join(process.env['TMPDIR'] ?? '/tmp', 'mjf-drainstate-'));
    t.after(() => fs.rmSync(dir, { recursive: true }));
    fs.mkdirSync(path.join(dir, 'jobfeatures'));
    const past = String(inSecs(-10));
    for (const [text, expected] of [
      ['1766440000\r\n', 'broken'],
      [' 1766440000\n', 'broken'],
      ['1766440000.5\n', 'broken'],
      ['', 'broken'],
      ['1766440000\n1766440000\n', 'broken'],
      ['0\n', 'preempt'],
      [`${past}\n`, 'preempt'],
      [past, 'preempt'],
    ] as const) {
      fs.writeFileSync(path.join(dir, 'jobfeatures/shutdowntime_job'), text);
      assert.equal((await check(dir, 'new')).split(' ')[0], expected, JSON.stringify(text));
    }
  });

  test('GlideinWMS sees no shutdown, an announced one, its postponement and its cancel, in directory and URL alike', async (t) => {
    const agent = await startSite(t);
    await expectBoth(agent, { old: 'run', new: 'run' });
    for (const at of [inSecs(7200), inSecs(14_400)]) {
      await announce(agent, at);
      await expectBoth(agent, { old: 'drain', new: `until ${at}` });
    }
    await cancel(agent);
    await expectBoth(agent, { old: 'run', new: 'run' });
  });

  test('GlideinWMS preempts at once when the time is over', async (t) => {
    const agent = await startSite(t);
    const at = inSecs(-5);
    agent.hostDirs.set('machine', 'shutdowntime', at);
    await agent.until('overdue', ({ overdue }) => overdue);
    await expectBoth(agent, { old: 'preempt', new: 'preempt' });
  });

  test('shutdown_keys = "draining" keeps an older release at work until draining begins', async (t) => {
    const config = '[publish]\nshutdown_keys = "draining"\n[stop]\ndrain = "1h"\n';
    const agent = await startSite(t, { config });
    await announce(agent, inSecs(7200));
    await expectBoth(agent, { old: 'run', new: 'run' });
    const near = inSecs(1800);
    await announce(agent, near);
    assert.equal((await agent.lifetime()).phase, 'draining');
    await expectBoth(agent, { old: 'drain', new: `until ${near}` });
    await announce(agent, inSecs(7200));
    await expectBoth(agent, { old: 'run', new: 'run' });
  });
});
