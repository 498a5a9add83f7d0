/** What is not for the shell: tried by the program that reads it. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

export interface Result {
  /** For people: line, what was run, what came out. Undefined where all is well. */
  readonly wrong?: string;
  /** Why it was left out. */
  readonly skipped?: string;
}

export const HOME = '/mnt/home';
/** Examples of packaging/examples shall not work for minutes. */
const EXAMPLES = { EVENTS: '1', EVENT_SECS: '1' };

export const env: NodeJS.ProcessEnv = {
  PATH: `/mnt/bin:${process.env['PATH']}`,
  HOME,
  USER: 'root',
  LANG: 'C.UTF-8',
  ...EXAMPLES,
};

/** The languages of blocks, each with how it is tried. */
export const TOOLS: Readonly<Record<string, (text: string) => Result>> = {
  toml(text) {
    fs.writeFileSync(path.join(HOME, 'snippet.toml'), text);
    return runTool(['mjf-agent', 'check', path.join(HOME, 'snippet.toml')], '');
  },
  json(text) {
    try {
      JSON.parse(text);
      return {};
    } catch (error) {
      return { wrong: String(error) };
    }
  },
  yaml: (text) => runTool(['python3', '-c', PARSE_YAML], text),
  python: (text) => runTool(['mjf-agent', 'exec', '--', 'python3', '-c', text], ''),
  cpp: (text) => runTool(['g++', '-std=c++17', '-fsyntax-only', '-x', 'c++', '-'], text),
  ini: runUnit,
  ts: (text) => runTool([process.execPath, '-e', PARSE_TYPESCRIPT], text),
};

function runTool(command: readonly string[], input: string): Result {
  const [tool = '', ...args] = command;
  const { status, error, stdout, stderr } = spawnSync(tool, args, { input, encoding: 'utf8', env, cwd: HOME });
  if (error !== undefined) return { skipped: `needs ${tool}` };
  if (status === LACKS) return { skipped: `needs a library of ${tool}` };
  return status === 0 ? {} : { wrong: `${command.join(' ')}\n${stdout}${stderr}` };
}

/** That a library is missing is nobody's fault. */
const LACKS = 77;
const PARSE_YAML = `
import sys
try:
    import yaml
except ImportError:
    sys.exit(${LACKS})
list(yaml.safe_load_all(sys.stdin))`;

/** Its grammar; whether it fits the program is for whoever shows it to try. */
const PARSE_TYPESCRIPT = `
  const { transformSync } = require('/mnt/project/node_modules/esbuild');
  transformSync(require('node:fs').readFileSync(0, 'utf8'), { loader: 'ts' });`;

/** A unit, or a drop-in for one: every section and key must be known. */
function runUnit(text: string): Result {
  const whole = /^ExecStart=/m.test(text) ? text : `${text}[Service]\nExecStart=/bin/true\n`;
  const file = path.join(HOME, 'snippet.service');
  fs.writeFileSync(file, whole.replace(/^(Exec\w+=)\S+/gm, '$1/bin/true'));
  const { error, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', file], { encoding: 'utf8' });
  if (error !== undefined) return { skipped: 'needs systemd-analyze' };
  const faults = stderr.split('\n').filter((line) => line.includes('snippet.service'));
  return faults.length === 0 ? {} : { wrong: faults.join('\n') };
}
