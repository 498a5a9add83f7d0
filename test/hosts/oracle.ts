/** A stand-in for Oracle Cloud's instance metadata service, version 2: one document, behind a header that is no secret. */
import { parseArgs } from 'node:util';
import type { StandIn } from './by-hand.ts';
import { type MetadataHost, startMetadataHost } from './metadata-host.ts';

export const INSTANCE_PATH = '/opc/v2/instance/';
export const INSTANCE_ID = 'ocid1.instance.oc1.eu-frankfurt-1.antheljr17';

export interface OracleHost extends MetadataHost {
  /** One entry of `freeformTags` or `metadata`; undefined takes it away. */
  tag(key: string, value: string | undefined): void;
  meta(key: string, value: string | undefined): void;
  /** A tag of a namespace (`definedTags`). */
  definedTag(namespace: string, key: string, value: string): void;
  /** Replaces the document, whatever it then is. */
  say(text: string | undefined): void;
}

export interface OracleHostOptions {
  readonly port?: number;
  readonly address?: string;
}

export async function startOracleHost(options: OracleHostOptions = {}): Promise<OracleHost> {
  const metadata: Record<string, string> = {
    ssh_authorized_keys: 'ssh-ed25519 AAAAC3Nz opc',
    user_data: 'I2Nsb3VkLWNvbmZpZwo=',
  };
  const freeformTags: Record<string, string> = { Department: 'Physics' };
  const definedTags: Record<string, Record<string, string>> = {};
  let said: string | undefined;

  const document = (): string =>
    JSON.stringify({
      availabilityDomain: 'EMIr:EU-FRANKFURT-1-AD-1',
      displayName: 'worker-17',
      id: INSTANCE_ID,
      metadata,
      freeformTags,
      definedTags,
      shape: 'VM.Standard.E5.Flex',
      shapeConfig: { ocpus: 8, memoryInGBs: 64 },
      state: 'Running',
      timeCreated: 1_766_430_000_000,
    });
  const host = await startMetadataHost(options, ({ method, path, headers }) => {
    if (method !== 'GET') return { status: 405 };
    if (headers['x-forwarded-for'] !== undefined || headers['forwarded'] !== undefined) return { status: 403 };
    if (headers.authorization !== 'Bearer Oracle') return { status: 401 };
    if (path !== INSTANCE_PATH) return { status: 404 };
    return { status: 200, headers: { 'content-type': 'application/json' }, body: said ?? document() };
  });
  const put = (into: Record<string, string>, key: string, value: string | undefined): void => {
    if (value === undefined) delete into[key];
    else into[key] = value;
  };
  return {
    ...host,
    tag: (key, value) => put(freeformTags, key, value),
    meta: (key, value) => put(metadata, key, value),
    definedTag(namespace, key, value) {
      definedTags[namespace] = { ...definedTags[namespace], [key]: value };
    },
    say(text) {
      said = text;
    },
  };
}

export const standIn: StandIn = {
  help: `  tag KEY VALUE      a free-form tag; VALUE +N: N seconds from now; without VALUE: none
  meta KEY VALUE     the same in the metadata of the instance
`,
  async start(args) {
    const { values } = parseArgs({
      args: [...args],
      options: { port: { type: 'string' }, address: { type: 'string' } },
    });
    const host = await startOracleHost({
      port: Number(values.port ?? 0),
      ...(values.address === undefined ? {} : { address: values.address }),
    });
    return {
      greeting: `${host.url}${INSTANCE_PATH}\n[source.oracle]\nbase_url = "${host.url}"`,
      host,
      obey(verb, [key = '', ...words]) {
        const text = words.join(' ');
        const value = /^\+\d+$/.test(text) ? String(Math.floor(Date.now() / 1000) + Number(text)) : text;
        if (key === '' || (verb !== 'tag' && verb !== 'meta')) return false;
        host[verb](key, value === '' ? undefined : value);
        return true;
      },
    };
  },
};
