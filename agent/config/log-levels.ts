/** Names of the log's levels, apart from log.ts so that client commands read the configuration without loading pino. */
export const LOG_LEVEL_NAMES = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVEL_NAMES)[number];
