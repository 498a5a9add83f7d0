/**
 * Machine/Job Features over HTTP(S), HSF-TN-2016-02, as Vac and Vcycle serve it: `GET BASE/KEY` gives the value, 404 says
 * that there is none, everything else says nothing. Configured by `[source.mjf]`, else by `$MACHINEFEATURES` and
 * `$JOBFEATURES` where they hold URLs, else by the platform's metadata (`pointers`).
 */
import type { Static } from 'typebox';
import { durationMs } from '../duration.ts';
import type { Side } from '../lifetime/types.ts';
import { createLinkLocalClient, type LinkLocalClient } from './link-local.ts';
import { traced } from './link-local-trace.ts';
import { createMjfRound, type MjfBase } from './mjf-round.ts';
import { shownUrl } from './mjf-url.ts';
import { isOwnUrl } from './own-url.ts';
import { pollOf } from './poll.ts';
import {
  type ReadContext,
  type ReadResult,
  type Source,
  type SourceDefinition,
  type SourceEnvironment,
  SourceError,
} from './source.ts';
import { readTlsFiles, sameTls, type TlsMaterial } from './tls-files.ts';

const schema = {
  type: 'object',
  additionalProperties: false,
  description: 'Machine/Job Features over HTTP(S) (HSF-TN-2016-02), as Vac and Vcycle serve it.',
  properties: {
    // No format 'http-url': an IPv6 zone, as in http://[fe80::1%25eth0]/, is no URL to Node but is one to this source.
    machinefeatures: {
      type: 'string',
      pattern: '^https?://',
      description: "URL of the machine's features. Default: $MACHINEFEATURES where it is a URL.",
      examples: ['http://169.254.169.253/machinefeatures'],
    },
    jobfeatures: {
      type: 'string',
      pattern: '^https?://',
      description: "URL of the job's features. Default: $JOBFEATURES where it is a URL.",
      examples: ['http://169.254.169.253/jobfeatures'],
    },
    poll: {
      type: 'string',
      format: 'poll',
      description: "How often to ask, unless the server's max-age for the shutdown times says otherwise.",
      default: '30s',
    },
    timeout: {
      type: 'string',
      format: 'duration',
      description: 'Longest that asking for all keys once may take.',
      default: '10s',
    },
    ca: {
      type: 'string',
      format: 'absolute-path',
      description: 'PEM file of the authorities to trust for https, in place of the built-in ones.',
      examples: ['/etc/grid-security/site-ca.pem'],
    },
    cert: {
      type: 'string',
      format: 'absolute-path',
      description: 'PEM file of the client certificate for https.',
      examples: ['/etc/grid-security/hostcert.pem'],
    },
    key: {
      type: 'string',
      format: 'absolute-path',
      description: 'PEM file of the key of the client certificate.',
      examples: ['/etc/grid-security/hostkey.pem'],
    },
  },
} as const;

export type MjfConfig = Static<typeof schema>;

/** S7: the server is shared by all guests of a hypervisor or of a site. */
const DEFAULT_POLL = schema.properties.poll.default;
/** Some thirty small answers, four at a time, from a slow server; far below the poll. */
const DEFAULT_TIMEOUT = schema.properties.timeout.default;
/** One black hole among the keys must leave time for the others. */
const REQUEST_SHARE_OF_ROUND = 0.4;
/** What was learnt in a round must be handed over before the driver gives the round up. */
const ROUND_SHARE_OF_TIMEOUT = 0.9;
const MAX_IN_FLIGHT = 4;

/** One source for both sides; none where no URL is given. Wrong URLs and certificate files show as failures of the source. */
export const mjfSource: SourceDefinition<MjfConfig> = {
  name: 'mjf',
  schema,
  followsPointers: true,
  create(config, environment) {
    const bases = findBases(config, environment);
    return bases.length === 0 ? [] : [createSource(config, environment, bases)];
  },
};

function findBases(config: MjfConfig, environment: SourceEnvironment): readonly MjfBase[] {
  const { env, pointers, runtimeDir, log } = environment;
  const named = (name: 'machinefeatures' | 'jobfeatures') => config[name] ?? env[name.toUpperCase()] ?? pointers[name];
  const given: readonly { side: Side; url: string | undefined; from: string }[] = [
    { side: 'machine', url: named('machinefeatures'), from: 'machinefeatures' },
    { side: 'job', url: named('jobfeatures'), from: 'jobfeatures' },
  ];
  const bases: MjfBase[] = [];
  for (const { side, url, from } of given) {
    // Anything else in the variables is a path: the directory source's.
    if (url === undefined || !/^https?:\/\//i.test(url)) continue;
    if (isOwnUrl(url, runtimeDir)) {
      log.info(
        { event: 'mjf_own_output', url: shownUrl(url), from },
        `mjf: ${from} is the agent's own URL, not a source`,
      );
      continue;
    }
    bases.push({ side, url });
  }
  return bases;
}

function createSource(config: MjfConfig, environment: SourceEnvironment, bases: readonly MjfBase[]): Source {
  const timeoutMs = durationMs(config.timeout ?? DEFAULT_TIMEOUT);
  const poll = pollOf(config.poll ?? DEFAULT_POLL);
  // By a cron expression it is asked at set times; what a server says of freshness is then measured by the default.
  const pollMs = typeof poll === 'number' ? poll : durationMs(DEFAULT_POLL);
  const round = createMjfRound(bases, {
    maxInFlight: MAX_IN_FLIGHT,
    requestTimeoutMs: Math.ceil(timeoutMs * REQUEST_SHARE_OF_ROUND),
    pollMs,
  });
  const secure = bases.some(({ url }) => /^https:/i.test(url));
  let open: { readonly client: LinkLocalClient; readonly tls: TlsMaterial } | undefined;
  let closed = false;

  async function client(): Promise<LinkLocalClient> {
    const tls = secure ? await readTlsFiles(config) : {};
    if (closed) throw new SourceError('aborted', 'the agent is stopping');
    if (open !== undefined && sameTls(open.tls, tls)) return open.client;
    open?.client.close();
    const made = traced(createLinkLocalClient({ ...tls, maxSockets: MAX_IN_FLIGHT }), 'mjf', environment);
    open = { client: made, tls };
    return made;
  }

  async function read(context: ReadContext): Promise<ReadResult> {
    // Again on each round: at the first one the file with our own URL may not have been written yet.
    const foreign = bases.filter(({ url }) => !isOwnUrl(url, environment.runtimeDir));
    if (foreign.length === 0) return { outcome: 'no_channel', detail: "the URLs given are the agent's own" };
    const endMs = performance.now() + timeoutMs * ROUND_SHARE_OF_TIMEOUT;
    const sides = foreign.map(({ side }) => side);
    return { outcome: 'answer', answer: await round.run(await client(), { context, endMs, sides }) };
  }

  return {
    name: 'mjf',
    rank: 'mjf',
    poll,
    timeoutMs,
    read,
    nextPollMs: () => (typeof poll === 'number' ? round.nextPollMs() : undefined),
    close() {
      closed = true;
      open?.client.close();
    },
  };
}
