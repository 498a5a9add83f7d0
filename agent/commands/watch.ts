/** `mjf-agent watch`: every change, for ever, also over restarts of the daemon; a picture on a terminal, a line each in a pipe. */
import { escapeLine } from '../escape.ts';
import { EXIT } from '../exit-codes.ts';
import { canDraw } from '../terminal/look.ts';
import { type CommandContext, defineCommand, RUNTIME_DIR_OPTION, runtimeDirOf } from './command.ts';
import { follow } from './follow.ts';
import { LIFETIME_JSON } from './json-help.ts';
import type { LifetimeDocument } from './lifetime-document.ts';
import { refusal } from './outcome.ts';
import { changeLine } from './watch-line.ts';
import { watchLive } from './watch-live.ts';

/** Short enough that a half-dead connection is noticed. */
const HANG_SECS = 60;

const OPTIONS = {
  json: { type: 'boolean', description: 'a line is the whole document of GET /v1/lifetime' },
  plain: { type: 'boolean', description: 'lines on a terminal too' },
  ...RUNTIME_DIR_OPTION,
} as const;

export const command = defineCommand({
  name: 'watch',
  summary: 'show every change as it comes',
  usage: 'watch [--json | --plain]',
  options: OPTIONS,
  positionals: { least: 0, most: 0 },
  details: `On a terminal: what "status" shows, drawn anew each second, with the changes since the start below it. q or Ctrl-C ends
it, Ctrl-Z stops it until "fg". In a pipe or a file, with --json, with --plain and with TERM=dumb: a line for every change; the
first line is the state at the start.

When the daemon is away, watch says so (lines: on stderr) and goes on when it is back.

Exit code: 0 after q, or when the reader of the lines has gone; 69 and 77 when there is no daemon at the start.`,
  json: { is: 'with --json, a line for the state at the start and one for every change, each', fields: LIFETIME_JSON },
  async run(context) {
    const runtimeDir = runtimeDirOf(context);
    const { stdout, stdin } = process;
    const isPlain = context.values.json || context.values.plain || !canDraw(stdout, context.env);
    return isPlain
      ? watchLines(runtimeDir, context)
      : watchLive({ runtimeDir, env: context.env, stdout, stdin }, context);
  },
});

async function watchLines(runtimeDir: string, context: CommandContext<typeof OPTIONS>): Promise<number> {
  let shown: LifetimeDocument | undefined;
  for await (const event of follow({ runtimeDir, hangSecs: HANG_SECS })) {
    if (event.is === 'refused') return refusal(event.answer, runtimeDir, context);
    if (event.is === 'lost') context.complain('connection to the daemon lost, waiting for it');
    else if (event.is === 'back') context.complain('connected to the daemon again');
    else {
      const line = context.values.json ? oneLine(event.body) : changeLine(shown, event.lifetime, Date.now());
      if (line !== undefined) context.out(`${escapeLine(line)}\n`);
      shown = event.lifetime;
    }
  }
  return EXIT.ok;
}

function oneLine(body: Buffer): string {
  return JSON.stringify(JSON.parse(body.toString()));
}
