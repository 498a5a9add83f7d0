/** Stands in for `mjf-agent __read-directory` where the whole program is not the subject: a few modules start faster. */
import { readerMain } from '../../agent/sources/directory/reader-main.ts';

readerMain(process.argv.slice(3)).then((code) => {
  process.exitCode = code;
});
