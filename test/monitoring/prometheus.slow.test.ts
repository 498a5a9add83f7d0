/**
 * A real Prometheus scrapes the built agent through a whole story: every query of the dashboard and every rule is understood,
 * and answers at some point of it, but for those that must not.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test, { describe } from 'node:test';
import { script } from '../hand/fixture.ts';
import { startMjfHost } from '../hosts/mjf.ts';
import { startWebhookReceiver } from '../hosts/webhook.ts';
import { inSecs, startAgent } from '../support/agent.ts';
import { SCRIPTS, startPayload } from '../support/processes.ts';
import { dashboard, dashboardQueries, MONITORING, RULE_TESTS, RULES, rules } from './queries.ts';
import { freePort, lacks, type Prometheus, start, startPrometheus, untilReady } from './server.ts';

const TEXTFILE = path.join(MONITORING, 'textfile/mjf-agent-textfile.sh');

/** What Grafana puts in for the variables of the dashboard. */
const filledIn = (expr: string, instance: string): string =>
  expr.replaceAll('$__rate_interval', '20s').replaceAll('$instance', instance).replaceAll('$job', 'mjf-agent');

/** What has no answer in a story in which the agent and its machine are well, by where it stands. */
const EMPTY: Readonly<Record<string, string>> = {
  'Guard holds up a shutdown for (A)': 'no guard runs here',
  'What went wrong with stopping (B)': 'its payloads are its own',
  'instance:mjf_ended:up': 'no deadline explains why it is away in the end',
  MjfAgentAbsent: 'there is a target',
  MjfAgentNotReady: 'its files can be written',
  MjfAgentUnhealthy: 'its loop runs',
  MjfAgentRestarts: 'it is not restarted',
  MjfAgentMemory: 'it needs less',
  MjfAgentFiles: 'it has enough',
  MjfCannotWrite: 'it can write',
  MjfLogDropped: 'its log is read',
  MjfMetricsDropped: 'a dropped measurement is a fault in the agent',
  MjfTextfileOld: 'there is no node_exporter',
  MjfSourceSlow: 'no source takes 5 s',
  MjfStepRefused: 'its payloads are its own',
  MjfPowerOffFailed: 'nobody switches this machine off',
  MjfReportsPending: 'reports went through within 15 minutes',
  MjfReportsRefused: 'the site refuses nothing',
  MjfLastWordPending: 'the payloads live on',
};
/** These depend on how busy the machine is that runs the tests. */
const EITHER: ReadonlySet<string> = new Set(['MjfAgentStarved', 'MjfStepsLate']);

describe('monitoring', { concurrency: 2 }, () => {
  test('a story, as dashboard and rules see it', { skip: lacks('prometheus') }, async (t) => {
    const host = await startMjfHost({ job: { allocated_cpu: '4' } });
    t.after(() => host.close());
    const receiver = await startWebhookReceiver();
    t.after(() => receiver.close());
    const config = (dir: string): string => `[source.directory]
poll = "200ms"
[source.mjf]
poll = "200ms"
[stop]
drain = "2h"
grace = "6s"
steps = [{ at = "grace", signal = "SIGTERM" }]
[hooks]
dir = "${dir}/hooks.d"
[[webhook]]
url = "${receiver.url}"
[report.joboutputs]
url = "${host.url}/joboutputs"
`;
    const agent = await startAgent(t, {
      machine: { total_cpu: 8, grace_secs: 86_400, termination_allowed: 0 },
      channels: (dir) => {
        script(`${dir}/hooks.d/draining/10-hello`, 'exit 0');
        fs.writeFileSync(path.join(dir, 'config.toml'), config(dir));
        return ['--machinefeatures', `${dir}/host/machinefeatures`, '--jobfeatures', `${host.url}/jobfeatures`];
      },
    });
    const target = new URL(agent.url).host;
    const prometheus = await startPrometheus(t, target);
    const asked = [...dashboardQueries(), ...rules()].map(({ where, expr }) => ({
      where,
      expr: filledIn(expr, target),
    }));
    const answered = new Map<string, string>();
    /** Each query that has not been answered so far. */
    async function look(stage: string): Promise<void> {
      for (const { where, expr } of asked) {
        if (answered.has(where)) continue;
        const found = await prometheus.query(expr);
        if (found.length > 0) answered.set(where, stage);
      }
    }

    // All is well.
    const payload = await startPayload(t, SCRIPTS.ignoresTerm);
    const register = async (name: string, more: object): Promise<string> => {
      const body = { name, target: { pid: payload.pid, group: true }, ...more };
      const answer = await agent.request('/v1/payloads', { method: 'POST', body });
      assert.equal(answer.status, 201, answer.body.toString());
      return String(JSON.parse(answer.body.toString()).id);
    };
    const id = await register('stubborn', {});
    const says = { can_terminate: false, needs_secs: 1800, progress: 0.25 };
    await agent.request(`/v1/payloads/${id}`, { method: 'PATCH', body: says });
    await prometheus.until('mjf_progress_ratio == 0.25');
    await prometheus.until('count_over_time(mjf_build_info[1m]) > 3');
    await look('well');

    // The host fails, and whatever else may be wrong.
    host.fault('*', { is: 'status', status: 500 });
    agent.hostDirs.set('machine', 'total_cpu', 'many');
    fs.writeFileSync(agent.configFile, 'nonsense = 1\n');
    agent.signal('SIGHUP');
    assert.equal((await agent.request('/', { headers: { host: 'evil.example' } })).status, 403);
    await agent.request(`/v1/payloads/${id}`, { method: 'PATCH', body: { progress: 0.5 } });
    await prometheus.until('mjf_source_up{source="mjf"} == 0');
    await prometheus.until('mjf_config_last_reload_successful == 0');
    await prometheus.until('mjf_source_faults_total{source="directory"} > 0');
    await prometheus.until('mjf_requests_refused_total{reason="foreign_host"} == 1');
    await look('source down');
    const elsewhere = `${agent.hostDirs.machine}.away`;
    fs.renameSync(agent.hostDirs.machine, elsewhere);
    await prometheus.until('mjf_source_up{source="directory"} == 0');
    await look('no source');
    fs.renameSync(elsewhere, agent.hostDirs.machine);

    // The host is back, with another clock.
    fs.writeFileSync(agent.configFile, config(agent.dir));
    agent.signal('SIGHUP');
    agent.hostDirs.set('machine', 'total_cpu', '8');
    host.recover();
    host.headers('*', { date: new Date(Date.now() + 600_000).toUTCString() });
    await prometheus.until('mjf_source_up{source="mjf"} == 1 and on () mjf_config_last_reload_successful == 1');
    await prometheus.until('mjf_source_clock_offset_seconds > 500');
    await look('another clock');
    host.headers('*', undefined);

    // A deadline far off: nobody takes new work.
    agent.hostDirs.set('machine', 'shutdowntime', inSecs(5400));
    await prometheus.until('mjf_phase{phase="draining"} == 1');
    await prometheus.until('mjf_hooks_total{event="draining",outcome="ok"} == 1');
    await look('draining');

    // And one that is near.
    agent.hostDirs.set('machine', 'shutdowntime', inSecs(12 + agent.slackSecs));
    await prometheus.until('mjf_remaining_seconds < 60');
    await look('near');
    await payload.line(/^got SIGTERM$/);
    await prometheus.until(
      'mjf_phase{phase="stopping"} == 1 and on () mjf_signals_total{signal="SIGTERM",outcome="delivered"} == 1',
    );
    await look('stopping');
    await prometheus.until('mjf_overdue == 1 and on () mjf_deadline_missed_total == 1');
    await look('overdue');
    const [late] = await prometheus.query('mjf_step_lateness_seconds_count');
    assert.equal(late?.value[1], '1', 'promise 4 is measured');

    // The host takes it back.
    agent.hostDirs.remove('machine', 'shutdowntime');
    await prometheus.until('mjf_phase{phase="running"} == 1 unless on () mjf_remaining_seconds');
    await look('cancelled');

    const { body } = await agent.request('/metrics');
    if (lacks('promtool') === false) {
      const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input: body, encoding: 'utf8' });
      assert.deepEqual([status, stdout + stderr], [0, '']);
    }
    await assertRulesRan(prometheus);

    await agent.kill9();
    await prometheus.until('up == 0');
    await look('gone');

    const wanted = asked
      .map(({ where }) => where)
      .filter((where) => !Object.hasOwn(EMPTY, where) && !EITHER.has(where));
    assert.deepEqual(
      wanted.filter((where) => !answered.has(where)),
      [],
      'never answered',
    );
    assert.deepEqual(
      Object.keys(EMPTY).flatMap((where) => (answered.has(where) ? [`${where}: ${answered.get(where)}`] : [])),
      [],
      'answered, and must not be',
    );
    const known = new Set(asked.map(({ where }) => where));
    assert.deepEqual(
      [...Object.keys(EMPTY), ...EITHER].filter((where) => !known.has(where)),
      [],
    );
  });

  /** Prometheus has evaluated each of them over the whole story. */
  async function assertRulesRan(prometheus: Prometheus): Promise<void> {
    const { groups } = (await prometheus.get('/api/v1/rules')) as {
      readonly groups: readonly { readonly rules: readonly { name: string; health: string; lastError?: string }[] }[];
    };
    const ran = groups.flatMap((group) => group.rules);
    assert.deepEqual(
      ran.map(({ name }) => name).sort(),
      rules()
        .map(({ name }) => name)
        .sort(),
    );
    assert.deepEqual(
      ran.filter(({ health }) => health !== 'ok'),
      [],
    );
  }

  test('the variables of the dashboard are asked for what there is', () => {
    const definitions = dashboard().templating.list.flatMap(({ definition }) => definition ?? []);
    assert.deepEqual(definitions, [
      'label_values(mjf_build_info, job)',
      'label_values(mjf_build_info{job=~"$job"}, instance)',
    ]);
  });

  test('promtool finds nothing wrong with rules, their tests and the example', { skip: lacks('promtool') }, () => {
    const promtool = (...args: readonly string[]) => spawnSync('promtool', args, { cwd: MONITORING, encoding: 'utf8' });
    for (const args of [
      ['check', 'rules', '--lint-fatal', RULES],
      ['test', 'rules', RULE_TESTS],
      ['check', 'config', 'prometheus.yml'],
    ]) {
      const { status, stdout, stderr } = promtool(...args);
      assert.equal(status, 0, stdout + stderr);
    }
  });

  test('shellcheck finds nothing wrong with the script', { skip: lacks('shellcheck') }, () => {
    const { stdout } = spawnSync('shellcheck', [TEXTFILE], { encoding: 'utf8' });
    assert.equal(stdout, '');
  });

  test('the way over node_exporter: whole, without what it has itself, and nothing old once the agent is gone', {
    skip: lacks('prometheus-node-exporter') || lacks('curl'),
  }, async (t) => {
    const agent = await startAgent(t, { machine: { shutdowntime: inSecs(3600) } });
    const dir = path.join(agent.dir, 'textfile');
    fs.mkdirSync(dir);
    const file = path.join(dir, 'mjf-agent.prom');
    const write = () =>
      execFileSync('sh', [TEXTFILE, file, path.join(agent.runtimeDir, 'agent.sock')], { stdio: 'pipe' });
    const listen = `127.0.0.1:${await freePort()}`;
    const options = ['--collector.disable-defaults', '--collector.textfile', `--collector.textfile.directory=${dir}`];
    const exporter = start(['prometheus-node-exporter', ...options, `--web.listen-address=${listen}`]);
    t.after(exporter.end);
    assert.ok(await untilReady(`http://${listen}`, exporter.isOver, '/'), exporter.complaints());
    const shown = async (): Promise<string> => await (await fetch(`http://${listen}/metrics`)).text();

    write();
    const text = await shown();
    assert.match(text, /^node_textfile_scrape_error 0$/m);
    assert.match(text, /^mjf_remaining_seconds \d+/m);
    assert.match(text, /^node_textfile_mtime_seconds\{file="[^"]*\/mjf-agent\.prom"\} /m);
    assert.equal(text.match(/^process_start_time_seconds /gm)?.length, 1, "node_exporter's own");
    assert.doesNotMatch(fs.readFileSync(file, 'utf8'), /process_/);
    assert.equal(fs.statSync(file).mode & 0o777, 0o644);

    await agent.kill9();
    write();
    const after = await shown();
    assert.match(after, /^mjf_ready 0$/m);
    assert.deepEqual(after.match(/^mjf_\w+/gm), ['mjf_ready']);
    assert.deepEqual(fs.readdirSync(dir), ['mjf-agent.prom'], 'nothing is left behind');
    assert.doesNotMatch(exporter.complaints(), /error gathering/);
  });
});
