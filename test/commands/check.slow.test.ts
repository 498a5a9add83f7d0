import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { run } from './cli.ts';

test('check says what it read, what is odd and ok; with everything that is wrong it exits with 78', async () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-check-'));
  const file = path.join(directory, 'a.toml');
  try {
    fs.writeFileSync(file, 'listen = "192.0.2.1:8653"\n');
    const good = await run(['check', file], { MJF_AGENT_STOP__GRAEC: '1m' });
    assert.equal(good.code, 0);
    assert.equal(good.err, '');
    const [read, unknown, listen, ok] = good.out.split('\n');
    assert.equal(read, `read ${file}`);
    assert.match(unknown ?? '', /^warning: MJF_AGENT_STOP__GRAEC: unknown variable; did you mean/);
    assert.match(listen ?? '', /^warning: .*a\.toml: listen: .*read-only/);
    assert.equal(ok, 'ok');

    fs.writeFileSync(file, '[stop]\ngrace = 5\ndrain = "x"\n');
    const bad = await run(['check', file]);
    assert.deepEqual([bad.code, bad.out], [78, '']);
    assert.equal(
      bad.err,
      `mjf-agent: ${file}: stop.drain: expected a duration such as "2m", got "x"\n` +
        `mjf-agent: ${file}: stop.grace: expected a duration such as "2m", got 5\n`,
    );
    assert.equal((await run(['check', path.join(directory, 'missing.toml')])).code, 78);

    const report = await run(['check', '--json', file]);
    assert.deepEqual([report.code, report.err], [78, '']);
    const { problems, ...rest } = JSON.parse(report.out);
    assert.deepEqual(rest, { ok: false, files: [], warnings: [] });
    const message = 'expected a duration such as "2m", got 5';
    assert.deepEqual(problems[1], { origin: file, key: 'stop.grace', message, line: null, column: null });
    fs.writeFileSync(file, '');
    const empty = await run(['check', '--json', file]);
    assert.deepEqual(JSON.parse(empty.out), { ok: true, files: [file], warnings: [], problems: [] });
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
});
