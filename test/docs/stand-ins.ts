/**
 * What a reader has and a test has not: a service manager, a container engine, the tools of clouds, a program of his own. Each
 * stand-in checks what it can and fails where a document is wrong; none does anything else.
 */
import fs from 'node:fs';
import path from 'node:path';
import { ROOT } from './documents.ts';

/** Where the daemon of the sandbox logs to, and its pid. */
export const AGENT_LOG = '/run/agent.log';
export const AGENT_PID = '/run/agent.pid';

const units = fs.readdirSync(path.join(ROOT, 'packaging/systemd')).filter((name) => /\.(service|socket)$/.test(name));
/** A unit of ours that a document names must be shipped, or put there by the document. */
const CHECK_UNITS = `for word; do case $word in mjf-agent*)
  [ ! -e "/etc/systemd/system/$word" ] || continue
  case " ${units.join(' ')} " in *" $word "*|*" $word.service "*) ;; *) echo "no such unit: $word" >&2; exit 5 ;; esac
esac; done`;

const CONTAINER = `while [ $# -gt 0 ]; do
  case $1 in
    --env-file) cat "$2" > /dev/null || exit 125; shift ;;
    -v|--volume|-B|--bind) [ -e "\${2%%:*}" ] || { echo "no such file or directory: \${2%%:*}" >&2; exit 125; }; shift ;;
    --env-file=*) cat "\${1#*=}" > /dev/null || exit 125 ;;
  esac
  shift
done`;

const SAYS = 'echo "$(basename "$0") $*"';

const BATCH = ['condor_drain', 'condor_off', 'condor_reconfig', 'scontrol'];

const SCRIPTS: Readonly<Record<string, string>> = {
  'mjf-agent': `exec '${process.execPath}' /mnt/project/dist/mjf-agent.cjs "$@"`,
  systemctl: `${CHECK_UNITS}
case $1 in
  reload) kill -HUP "$(cat ${AGENT_PID})" ;;
  is-active) echo active ;;
  start|stop|restart|enable|disable|mask|unmask|edit|status|show|cat|daemon-reload|list-units|list-sockets|kill|reset-failed) ;;
  --*) ;;
  *) echo "systemctl has no $1" >&2; exit 1 ;;
esac`,
  journalctl: `${CHECK_UNITS}
cat ${AGENT_LOG}`,
  sudo: 'exec "$@"',
  podman: CONTAINER,
  docker: CONTAINER,
  apptainer: CONTAINER,
  ...Object.fromEntries(BATCH.map((name) => [name, SAYS])),
  ...Object.fromEntries(['openstack', 'onegate', 'onevm', 'aws', 'gcloud', 'az'].map((name) => [name, SAYS])),
};

/** The reader's own programs, in his directory, beside those of packaging/examples. */
const OWN: Readonly<Record<string, string>> = {
  'run-payload.sh': 'echo "working, until $(cat "$JOBFEATURES/shutdowntime_job")"',
  'job.sh': 'echo working',
  'pilot.sh': 'echo working',
};

export function writeStandIns(directory: string): void {
  for (const [name, script] of Object.entries(SCRIPTS)) writeScript(path.join(directory, name), script);
}

export function writeOwnPrograms(directory: string): void {
  for (const [name, script] of Object.entries(OWN)) {
    const file = path.join(directory, name);
    if (!fs.existsSync(file)) writeScript(file, script);
  }
}

const writeScript = (file: string, script: string): void =>
  fs.writeFileSync(file, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
