/** What a schema cannot say of `[[payload]]`. */
import { durationMs, formatDuration } from '../duration.ts';
import { unitNameProblem } from '../payloads/unit-names.ts';
import { TEXT_FORMATS } from './formats.ts';
import type { KeyPath } from './merge.ts';
import { showValue } from './problem.ts';
import type { RuleReport } from './rules.ts';
import type { RawConfig } from './schema.ts';
import { checkHookSteps, checkOrder } from './step-rules.ts';
import { compileCommand, type RawPayload, toStep } from './typed-payload.ts';
import type { Config } from './types.ts';

type At = (...keys: readonly (string | number)[]) => KeyPath;

/** A word that no command line contains and yet an expression may match: then it matches all. */
const IMPROBABLE = '\u2603';

/** Presumes a valid shape. */
export function checkPayloads(raw: RawConfig, { stop }: Config, report: RuleReport): void {
  const payloads = raw.payload ?? [];
  payloads.forEach((payload, i) => {
    const at: At = (...keys) => ['payload', i, ...keys];
    const others = payloads.slice(0, i);
    if (others.some(({ name }) => name === payload.name)) {
      report.problem(at('name'), `${showValue(payload.name)} is taken: each payload has a name of its own`);
    }
    const twin = others.find((other) => isSameThing(other, payload));
    if (twin !== undefined) report.warning(at(), `is found the same way as ${showValue(twin.name)}: one of them idles`);
    checkFind(payload, at, report);
    checkPayloadSteps(payload, stop, at, report);
  });
}

function isSameThing(one: RawPayload, other: RawPayload): boolean {
  return (['unit', 'cgroup', 'pidfile'] as const).some((key) => one[key] !== undefined && one[key] === other[key]);
}

function checkFind(payload: RawPayload, at: At, report: RuleReport): void {
  const { unit, pidfile, match, user } = payload;
  const unfit = unit === undefined ? null : unitNameProblem(unit);
  if (unfit !== null) {
    report.problem(at('unit'), `expected ${TEXT_FORMATS.unit.expected}, got ${showValue(unit)}: ${unfit}`);
  }
  if (pidfile !== undefined && user === undefined) {
    report.problem(at('user'), 'is missing, expected the user whose process it is, by name or number such as "condor"');
  }
  if (pidfile === undefined && user !== undefined) {
    const where = match === undefined ? 'goes with pidfile only' : 'belongs into match = { user = …, command = … }';
    report.problem(at('user'), `${where}: remove it here`);
  }
  if (pidfile === undefined && payload.group !== undefined) {
    report.warning(at('group'), 'has no effect: it goes with pidfile');
  }
  if (unit === undefined && payload.restart_on_cancel !== undefined) {
    report.warning(at('restart_on_cancel'), 'has no effect: only a unit can be started again');
  }
  if (match !== undefined) checkCommand(match.command, at('match', 'command'), report);
}

function checkCommand(source: string, path: KeyPath, report: RuleReport): void {
  const command = compileCommand(source);
  if (typeof command === 'string') {
    const sample = '"^/usr/bin/condor_master( |$)"';
    report.problem(path, `expected a regular expression such as ${sample}, got ${showValue(source)}: ${command}`);
  } else if (command.test(IMPROBABLE)) {
    report.warning(path, 'matches every command line: all processes of this user are stopped');
  }
}

function checkPayloadSteps(payload: RawPayload, stop: Config['stop'], at: At, report: RuleReport): void {
  const { unit, grace, steps: own } = payload;
  const graceMs = grace === undefined ? stop.graceMs : durationMs(grace);
  if (own === undefined) {
    if (grace !== undefined) checkInheritedSteps(stop.steps, graceMs, at('grace'), report);
    return;
  }
  const steps = own.map(toStep);
  const graceName = grace === undefined ? 'stop.grace' : "this payload's grace";
  const graceMayGrow = unit !== undefined && grace === undefined;
  checkHookSteps(own, at('steps'), report);
  checkOrder({ steps, graceMs, graceName, graceMayGrow, path: at('steps') }, report);
  if (unit === undefined && payload.cgroup === undefined) return;
  const whole = unit === undefined ? 'control group' : 'unit';
  own.forEach((step, i) => {
    if (step.to === undefined || step.to === 'all' || step.hook !== undefined) return;
    report.warning(at('steps', i, 'to'), `has no meaning for a ${whole}: every process in it gets the signal`);
  });
  if (unit !== undefined && !steps.some(({ signal }) => signal === 'SIGTERM')) {
    report.warning(at('steps'), 'without SIGTERM the unit is not stopped through systemd, which may start it again');
  }
}

function checkInheritedSteps(steps: Config['stop']['steps'], graceMs: number, path: KeyPath, report: RuleReport): void {
  for (const { at, signal } of steps) {
    if (at === 'grace' || at <= graceMs) continue;
    const message = `is shorter than the ${formatDuration(at)} of ${signal} in stop.steps, which comes before stopping begins`;
    report.warning(path, message);
  }
}
