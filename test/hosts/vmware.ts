/**
 * A stand-in for VMware's tools: executables `vmtoolsd` and `vmware-rpctool` in a private directory that answer
 * `info-get guestinfo.KEY` from files beside them, as the real ones do from the host: a value and exit code 0, or the words
 * `No value found` and exit code 1. `info-set guestinfo.KEY VALUE` writes such a file.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { StandIn } from './by-hand.ts';

/** What a tool can do instead of answering. */
export const VMWARE_MOODS = [
  /** No VMware host below this machine. */
  'not-vmware',
  /** Exit code 1 and no word: as older tools say that there is no value. */
  'silent',
  /** Exit code 0 and nothing: a value that was set to the empty text. */
  'empty',
  /** Ends badly with a complaint. */
  'broken',
  /** Never ends. */
  'hang',
  /** Output without end. */
  'flood',
  /** What is no UTF-8. */
  'bytes',
] as const;
export type VmwareMood = (typeof VMWARE_MOODS)[number];

export interface VmwareHost {
  /** Holds `vmtoolsd` and `vmware-rpctool`; as `PATH` of the agent it hides all others. */
  readonly binDir: string;
  readonly vmtoolsd: string;
  /** `key` without `guestinfo.`; undefined unsets it. */
  set(key: string, value: string | undefined): void;
  /** For one key, or for all with `*`. */
  mood(key: string, mood: VmwareMood | undefined): void;
  /** Takes a tool away. */
  uninstall(tool: 'vmtoolsd' | 'vmware-rpctool'): void;
  /** Keys that were asked for since the last call, in order, each with the tool's name: `vmtoolsd shutdowntime`. */
  asked(): readonly string[];
  /** What was written with `info-set` since the last call, in order: `vmtoolsd jobstatus.can_terminate 1`. */
  told(): readonly string[];
  /** As a site reads it; undefined where there is none. */
  get(key: string): string | undefined;
  /** Of the processes that hang, those that still live. */
  hanging(): readonly number[];
  close(): void;
}

/** Plain shell: forty of them are started for one reading. `$here` is a directory of ours, without quotes in its name. */
const SCRIPT = `#!/bin/sh
here=$(dirname "$(dirname "$0")")
tool=$(basename "$0")
case $tool in
  vmtoolsd) [ "$1" = --cmd ] || { echo 'unknown option' >&2; exit 64; }; question=$2 ;;
  *) question=$1 ;;
esac
case $question in
  'info-get guestinfo.'*) set=; key=\${question#info-get guestinfo.} ;;
  'info-set guestinfo.'*' '?*)
    set=yes; rest=\${question#info-set guestinfo.}; key=\${rest%% *}; value=\${rest#* } ;;
  'info-set '*) echo 'Two and exactly two arguments expected' >&2; exit 1 ;;
  *) echo 'Unknown command' >&2; exit 1 ;;
esac
if [ "$set" ]; then printf '%s\\n' "$tool $key $value" >> "$here/told"; else echo "$tool $key" >> "$here/asked"; fi
mood=
for file in "$here/moods/$key" "$here/moods/all"; do
  [ -f "$file" ] && { read -r mood < "$file"; break; }
done
case $mood in
  not-vmware) echo "$tool must be run inside a virtual machine on a VMware hypervisor product." >&2; exit 1 ;;
  silent) exit 1 ;;
  empty) exit 0 ;;
  broken) echo 'Failed sending message to VMware.' >&2; exit 1 ;;
  hang) echo $$ >> "$here/hanging"; exec sleep 600 ;;
  flood) exec yes flood ;;
  bytes) printf '\\377\\376\\n'; exit 0 ;;
esac
if [ "$set" ]; then printf '%s' "$value" > "$here/guestinfo/$key.$$" && mv "$here/guestinfo/$key.$$" "$here/guestinfo/$key"
elif [ -f "$here/guestinfo/$key" ]; then cat "$here/guestinfo/$key"; echo
else echo 'No value found' >&2; exit 1
fi
`;

export function makeVmwareHost(): VmwareHost {
  const here = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-vmware-'));
  const at = (...names: readonly string[]) => path.join(here, ...names);
  for (const folder of ['bin', 'guestinfo', 'moods']) fs.mkdirSync(at(folder));
  for (const tool of ['vmtoolsd', 'vmware-rpctool']) fs.writeFileSync(at('bin', tool), SCRIPT, { mode: 0o755 });
  // The tools' own tools.
  for (const name of ['sh', 'dirname', 'basename', 'cat', 'mv', 'sleep', 'yes']) {
    const found = ['/bin', '/usr/bin'].map((folder) => path.join(folder, name)).find((file) => fs.existsSync(file));
    if (found !== undefined) fs.symlinkSync(found, at('bin', name));
  }
  const lines = (file: string): readonly string[] => {
    try {
      return fs.readFileSync(at(file), 'utf8').replace(/\n$/, '').split('\n');
    } catch {
      return [];
    }
  };
  const taken = (file: string): readonly string[] => {
    const all = lines(file);
    fs.rmSync(at(file), { force: true });
    return all;
  };
  const isAlive = (pid: number): boolean => {
    try {
      return !/^State:\s+Z/m.test(fs.readFileSync(`/proc/${pid}/status`, 'utf8'));
    } catch {
      return false;
    }
  };
  const hanging = () => lines('hanging').map(Number).filter(isAlive);
  const write = (file: string, text: string | undefined): void => {
    if (text === undefined) {
      fs.rmSync(file, { force: true });
      return;
    }
    // By rename: the tool may be reading.
    fs.writeFileSync(`${file}.new`, text);
    fs.renameSync(`${file}.new`, file);
  };

  return {
    binDir: at('bin'),
    vmtoolsd: at('bin', 'vmtoolsd'),
    set: (key, value) => write(at('guestinfo', key), value),
    mood: (key, mood) => write(at('moods', key === '*' ? 'all' : key), mood === undefined ? undefined : `${mood}\n`),
    uninstall: (tool) => fs.rmSync(at('bin', tool)),
    asked: () => taken('asked'),
    told: () => taken('told'),
    get(key) {
      try {
        return fs.readFileSync(at('guestinfo', key), 'utf8');
      } catch {
        return undefined;
      }
    },
    hanging,
    close() {
      for (const pid of hanging()) process.kill(pid, 'SIGKILL');
      fs.rmSync(here, { recursive: true, force: true });
    },
  };
}

export const standIn: StandIn = {
  help: `  VMware's tools, as executables that answer from files; no port.
  on stdin: set KEY VALUE (VALUE +N means: N seconds from now) · unset KEY · mood KEY|* off|${VMWARE_MOODS.join('|')} · asked
  Prints what the machine tells it.
`,
  async start() {
    const host = makeVmwareHost();
    // The tools are processes of others: what they were told lies in a file.
    const watcher = fs.watch(path.dirname(host.binDir), (_, file) => {
      if (file === 'told') for (const line of host.told()) process.stdout.write(`told: ${line}\n`);
    });
    return {
      greeting: `${host.vmtoolsd}\n[source.vmware]\ncommand = "${host.vmtoolsd}"`,
      host: {
        fault: (key, fault) =>
          host.mood(key, fault === undefined ? undefined : fault.is === 'hang' ? 'hang' : 'broken'),
        dropConnections: () => undefined,
        setClockOffset: () => undefined,
        async close() {
          watcher.close();
          host.close();
        },
      },
      obey(verb, [key = '', ...words]) {
        const value = words.join(' ');
        if (verb === 'asked') process.stdout.write(`${host.asked().join('\n')}\n`);
        else if (verb === 'set' && isKey(key)) host.set(key, later(value));
        else if (verb === 'unset' && isKey(key)) host.set(key, undefined);
        else if (verb === 'mood' && (isKey(key) || key === '*')) {
          const mood = VMWARE_MOODS.find((each) => each === value);
          if (mood === undefined && value !== 'off') return false;
          host.mood(key, mood);
        } else return false;
        return true;
      },
    };
  },
};

const isKey = (key: string): boolean => /^[A-Za-z0-9_.-]+$/.test(key) && !key.startsWith('.');

const later = (value: string): string =>
  /^\+\d+$/.test(value) ? String(Math.floor(Date.now() / 1000) + Number(value)) : value;
