/** `mjf-agent demo`: what the program is for, seen in half a minute. */
import { playDemo } from '../demo/play.ts';
import { createScreen } from '../demo/screen.ts';
import { EXIT } from '../exit-codes.ts';
import { selfCommand } from '../self.ts';
import { defineCommand } from './command.ts';

export const command = defineCommand({
  name: 'demo',
  summary: 'the whole life of a virtual machine in half a minute',
  usage: 'demo',
  options: {},
  positionals: { least: 0, most: 0 },
  details: `Makes a host directory in a temporary place, starts the agent on it and a payload under "exec", lets the site announce a
shutdown 20 s ahead, and shows what happens. Ends with 0 when the payload was stopped in time, its checkpoint written and
the site told; else with 1. Needs no privileges and leaves nothing behind.`,
  async run(context) {
    const interrupted = new AbortController();
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => interrupted.abort());
    // Written directly: `demo | head` must be cleaned up after, not ended at once.
    process.stdout.on('error', () => interrupted.abort());
    const screen = createScreen(process.stdout, Date.now);
    try {
      const good = await playDemo({ self: selfCommand(), screen, env: process.env, signal: interrupted.signal });
      return good ? EXIT.ok : EXIT.failure;
    } catch (error) {
      if (!(error instanceof Error && 'code' in error)) throw error;
      const isPlace = ['EACCES', 'ENOENT', 'ENOSPC', 'EROFS'].includes(String(error.code));
      const advice = isPlace ? '; it needs a place to write: TMPDIR=DIRECTORY names another' : '';
      context.complain(`demo: ${error.message}${advice}`);
      return EXIT.cannotCreate;
    }
  },
});
