// First of all: without a handler SIGUSR1 opens Node's inspector to every local user, and batch systems send SIGUSR1
// (SYSTEMS.md, "Signals"). No static imports, since they would run before this statement.
process.on('SIGUSR1', () => undefined);

const argv = process.argv.slice(2);

if (argv[0] === '__read-directory') {
  // The reader child of the directory source: as few modules as possible, it is started again and again.
  import('./sources/directory/reader-main.ts')
    .then(({ readerMain }) => readerMain(argv.slice(1)))
    .then((code) => {
      process.exitCode = code;
    });
} else {
  void import('./commands/process.ts').then(({ runProcess }) => runProcess(argv));
}

export {};
