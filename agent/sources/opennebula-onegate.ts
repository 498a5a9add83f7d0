/**
 * OneGate, OpenNebula's service for its machines: `GET /vm` with the machine's number and its token as headers, and `PUT /vm`
 * for what the machine has to say. 401: the token is read again, since it is renewed in the context. 403: the site does not let
 * machines look, or speak. 404 is no good answer: the server gives it for whatever its own question to the front-end failed of,
 * so it clears nothing.
 */
import { createMetadata, type Metadata, type MetadataAnswer } from './metadata.ts';
import { type SourceEnvironment, SourceError } from './source.ts';
import { readTlsFiles, sameTls, type TlsMaterial } from './tls-files.ts';

export interface OneGateCredentials {
  readonly vmId: string;
  readonly token: string;
}

export interface OneGateRequest {
  readonly signal: AbortSignal;
  /** What the context says now. */
  renew(): Promise<OneGateCredentials>;
}

export interface OneGate {
  /** The body of a 200. @throws SourceError `http_401`, `http_403`, `http_404`, … and the codes of metadata.ts */
  vm(endpoint: string, credentials: OneGateCredentials, request: OneGateRequest): Promise<MetadataAnswer>;
  /** Adds lines of a template (opennebula-template.ts) to the machine's user template. @throws SourceError as `vm` */
  update(
    endpoint: string,
    credentials: OneGateCredentials,
    request: OneGateRequest & { readonly lines: string },
  ): Promise<void>;
  close(): void;
}

export interface OneGateOptions {
  readonly timeoutMs: number;
  /** PEM file, for https. */
  readonly ca?: string;
}

export function createOneGate(
  { timeoutMs, ca }: OneGateOptions,
  environment: Pick<SourceEnvironment, 'trace'>,
): OneGate {
  let open: { readonly endpoint: string; readonly tls: TlsMaterial; readonly metadata: Metadata } | undefined;
  let closed = false;

  async function metadataAt(endpoint: string): Promise<Metadata> {
    const tls = ca !== undefined && /^https:/i.test(endpoint) ? await readTlsFiles({ ca }) : {};
    if (closed) throw new SourceError('aborted', 'the agent is stopping');
    if (open !== undefined && open.endpoint === endpoint && sameTls(open.tls, tls)) return open.metadata;
    open?.metadata.close();
    const metadata = createMetadata({ source: 'opennebula', baseUrl: endpoint, timeoutMs, ...tls }, environment);
    open = { endpoint, tls, metadata };
    return metadata;
  }

  /** With `lines`: a PUT of these. */
  async function ask(
    endpoint: string,
    { vmId, token }: OneGateCredentials,
    { signal, lines }: { readonly signal: AbortSignal; readonly lines?: string },
  ): Promise<MetadataAnswer> {
    const metadata = await metadataAt(endpoint);
    const headers = { 'X-ONEGATE-TOKEN': token, 'X-ONEGATE-VMID': vmId };
    const put = lines === undefined ? {} : { method: 'PUT', body: lines };
    const answer = await metadata.ask('/vm', { signal, headers, ...put });
    if (answer.is === 'absent') throw new SourceError('http_404', '/vm: OneGate does not find this machine');
    return answer;
  }

  async function askRenewing(
    endpoint: string,
    credentials: OneGateCredentials,
    request: OneGateRequest & { readonly lines?: string },
  ): Promise<MetadataAnswer> {
    try {
      return await ask(endpoint, credentials, request);
    } catch (error) {
      if (!(error instanceof SourceError) || error.code !== 'http_401') throw error;
      const renewed = await request.renew().catch(() => credentials);
      if (renewed.token === credentials.token) throw error;
      return await ask(endpoint, renewed, request);
    }
  }

  return {
    vm: (endpoint, credentials, { signal, renew }) => askRenewing(endpoint, credentials, { signal, renew }),
    async update(endpoint, credentials, request) {
      await askRenewing(endpoint, credentials, request);
    },
    close() {
      closed = true;
      open?.metadata.close();
    },
  };
}
