// First of all: without a handler SIGUSR1 opens Node's inspector to every local user, and batch systems send SIGUSR1
// (SYSTEMS.md, "Signals"). No static imports, since they would run before this statement.
process.on('SIGUSR1', () => undefined);

// Like SIGUSR1: until the daemon has its own handler, "read your configuration again" must not end it.
if (process.argv[2] === 'run') process.on('SIGHUP', () => undefined);

const argv = process.argv.slice(2);

if (argv[0] === '__read-directory') {
  // The reader child of the directory source: as few modules as possible, it is started again and again.
  import('./sources/directory/reader-main.ts')
    .then(({ readerMain }) => readerMain(argv.slice(1)))
    .then((code) => {
      process.exitCode = code;
    });
} else if (argv[0] === '__write-file') {
  // The writer child of reports into a directory, which may be a host's share that hangs.
  import('./report/write-main.ts')
    .then(({ writeMain }) => writeMain(argv.slice(1)))
    .then((code) => {
      process.exitCode = code;
    });
} else if (argv[0] === '__copy-drive') {
  // The copier of a config drive or context ISO, by root in a mount namespace of its own.
  import('./sources/drive-copy-main.ts')
    .then(({ copyDriveMain }) => copyDriveMain(argv.slice(1)))
    .then((code) => {
      process.exitCode = code;
    });
} else if (argv[0] === '__hand') {
  // The root hand, started by systemd for each request.
  import('./hand/serve.ts')
    .then(({ handMain }) => handMain())
    .then((code) => {
      process.exitCode = code;
    });
} else if (argv[0] === '__guard') {
  // What mjf-agent-guard.service runs when the machine goes down. A journal that is gone must not end it in the midst of that.
  process.stdout.on('error', () => undefined);
  import('./guard/guard.ts')
    .then(({ guardMain }) => guardMain(argv.slice(1)))
    .then((code) => {
      process.exitCode = code;
    });
} else if (argv[0] === '__demo-payload') {
  // What `demo` has stopped in time.
  void import('./demo/payload.ts').then(({ demoPayloadMain }) => demoPayloadMain(process.env));
} else {
  void import('./commands/process.ts').then(({ runProcess }) => runProcess(argv));
}

export {};
