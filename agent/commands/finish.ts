/** `mjf-agent finish`: the payload's last word to the site (mjf.md, "VM to site"; SEMANTICS S5.3). */
import { defineCommand, RUNTIME_DIR_OPTION, runtimeDirOf } from './command.ts';
import { CODE_MEANINGS, parseFinalWord } from './final-word.ts';
import { ancestorsOf, sayFinalWord } from './finish-word.ts';

/** More words than fit into a text. */
const MOST_WORDS = 201;

export const command = defineCommand({
  name: 'finish',
  summary: "the payload's last word to the site",
  usage: 'finish [OPTIONS] CODE [TEXT…]',
  options: {
    payload: {
      type: 'string',
      value: 'ID|NAME',
      description: 'whose word it is (default: that of the payload to which this process belongs)',
    },
    ...RUNTIME_DIR_OPTION,
  },
  positionals: { least: 1, most: MOST_WORDS },
  takesRest: true,
  details: `CODE is a number from 100 to 999; those between the hundreds refine them:
${CODE_MEANINGS.map(([code, meaning]) => `  ${code}  ${meaning}`).join('\n')}
TEXT is one line of at most 200 characters; what begins with a dash stands behind --. For example:
  mjf-agent finish 300 No more work in the queue of this site

To be called before the payload ends: it says nothing of when that is, and the last call counts, before any exit code. The site
gets one message for all payloads, once the last one has ended or the machine goes down: the highest code from 300 on, else
100 if the host has stopped one of them, else 200. Sites start fewer machines for a while after 300 and more.

The payload is told by MJF_PAYLOAD_URL, which exec sets, by its JOBFEATURES, or by a parent process that is registered. Where
root belongs to none, it is the machine's own word.

Exit code: 0 said, 1 no such payload or refused, 64 wrong words, 69 the daemon cannot be reached, 77 not permitted.`,
  async run(context) {
    const { values, env, positionals, rest = [] } = context;
    const [code = '', ...words] = positionals;
    const word = parseFinalWord('CODE and TEXT', code, [...words, ...rest].join(' '));
    const runtimeDir = runtimeDirOf(context);
    const uid = process.getuid?.() ?? 0;
    const wish = { word, wanted: values.payload, runtimeDir, env, uid, ancestors: ancestorsOf(process.pid) };
    return sayFinalWord(wish, context);
  },
});
