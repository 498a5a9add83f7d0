/**
 * Blocks of the documents that no test can run, by document and exact first line, with the reason. An entry that no longer
 * matches a block fails, so does a block that is neither run nor here. Make a block runnable rather than add a line.
 */
export interface NotRun {
  readonly file: string;
  readonly first: string;
  readonly why: string;
}

const CI = 'run by CI itself, word for word';
const PICTURE = 'a picture in letters';
const MAKES = 'makes or installs the packages, as test/packaging and test/systemd do';

export const isNotRun = (file: string, [first]: readonly string[]): boolean =>
  NOT_RUN.some((entry) => entry.file === file && entry.first === first);

export const NOT_RUN: readonly NotRun[] = [
  { file: 'README.md', first: 'npm ci && npm run demo', why: CI },
  { file: 'README.md', first: 'npm ci && npm test', why: CI },
  {
    file: 'README.md',
    first:
      'apt-get install ./mjf-agent-standalone_0.1.0-1_amd64.deb     # or: dnf install ./mjf-agent-standalone-0.1.0-1.x86_64.rpm',
    why: MAKES,
  },
  {
    file: 'packaging/docs/install.md',
    first: 'npm run build:deb     # dist/mjf-agent_0.1.0-1_all.deb, dist/mjf-agent-standalone_0.1.0-1_amd64.deb',
    why: MAKES,
  },
  { file: 'packaging/docs/install.md', first: 'apt-get install ./mjf-agent-standalone_0.1.0-1_amd64.deb', why: MAKES },
  { file: 'packaging/docs/DESIGN.md', first: ' sources/ observations ─┐', why: PICTURE },
  {
    file: 'packaging/docs/DESIGN.md',
    first:
      'package.json  tsconfig.json  README.md  and only the conventional rest: LICENSE (Apache-2.0), CHANGELOG.md, SECURITY.md, lock file, biome.json, dotfiles',
    why: PICTURE,
  },
  { file: 'packaging/docs/migration.md', first: 'while sleep 5; do', why: 'what a site has had before' },
  {
    file: 'packaging/docs/migration.md',
    first: 'STARTD_CRON_JOBLIST = $(STARTD_CRON_JOBLIST) MJF',
    why: 'configuration of HTCondor, which is not here',
  },
  {
    file: 'packaging/docs/status-page.md',
    first: 'ssh -L 8653:localhost:8653 vm',
    why: 'needs another machine',
  },
  { file: 'packaging/monitoring/README.md', first: 'location = /metrics {', why: 'configuration of nginx' },
];
