/** A host's share that can be made to hang: `fuse.ts` as its own process, mounted by it. Needs root and /dev/fuse. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';

export interface FuseShare {
  /** One of the commands of `fuse.ts`; resolves with its answer. */
  tell(command: string): Promise<string>;
  /** Whatever still waits for an answer then fails; the directory is bare again. */
  end(): Promise<void>;
}

/** Why there can be none here, else undefined. */
export function noFuseShare(): string | undefined {
  if (process.getuid?.() !== 0) return 'mounting needs root';
  return fs.existsSync('/dev/fuse') ? undefined : 'there is no /dev/fuse';
}

/** Resolves when it is mounted at `directory`, and empty. */
export async function startFuseShare(directory: string): Promise<FuseShare> {
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
  const program = fileURLToPath(new URL('fuse.ts', import.meta.url));
  const host = spawn(process.execPath, ['--import', tsx, program, directory], { stdio: ['pipe', 'pipe', 'inherit'] });
  const answers = createInterface({ input: host.stdout })[Symbol.asyncIterator]();
  const said = async (): Promise<string> => String((await answers.next()).value);
  const end = async (): Promise<void> => {
    // First the host: its end sets free whatever still waits, so that unmounting cannot hang.
    if (host.exitCode === null && host.signalCode === null) {
      host.kill('SIGKILL');
      await once(host, 'exit');
    }
    spawnSync('umount', ['-l', directory]);
  };
  const first = await said();
  if (first !== 'mounted') {
    await end();
    throw new Error(`no share at ${directory}: ${first}`);
  }
  return {
    tell(command) {
      host.stdin.write(`${command}\n`);
      return said();
    },
    end,
  };
}
