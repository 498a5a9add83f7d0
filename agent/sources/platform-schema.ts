/** The keys that the tables of all platforms have in common (`[source.ec2]`, `[source.gce]`, …; DESIGN.md). */

/**
 * Keys for a platform that is asked at a base URL. `pollWhat` continues "How often to ask …": the fast endpoint; what
 * changes rarely is asked each `slow_poll`.
 */
export const platformKeys = <const Url extends string, const Poll extends string>(
  baseUrl: Url,
  poll: Poll,
  pollWhat: string,
) =>
  ({
    ...ENABLED,
    base_url: {
      type: 'string',
      pattern: '^https?://',
      description: 'Where the metadata service is. Given, the source is used whether the platform is detected or not.',
      default: baseUrl,
      namesChannel: true,
    },
    poll: { type: 'string', format: 'poll', description: `How often to ask ${pollWhat}.`, default: poll },
    timeout: {
      type: 'string',
      format: 'duration',
      description: 'Longest that one answer may take.',
      default: '5s',
    },
  }) as const;

/** For sources that are detected: whether to use this one at all. */
export const ENABLED = {
  enabled: {
    type: 'boolean',
    description: 'true: use it although it is not detected; false: never. Default: as detected.',
    examples: [false],
  },
} as const;
