/** Put in by packaging/build.mjs from package.json; absent when the sources run unbundled. */
declare const MJF_AGENT_VERSION: string | undefined;

/** Version of this program as `--version` and metrics show it. */
export const version: string = typeof MJF_AGENT_VERSION === 'string' ? MJF_AGENT_VERSION : 'development';
