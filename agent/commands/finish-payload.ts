/** Whose last word it is: which of the caller's payloads a process belongs to, by what its environment and its parents show. Pure. */
import { escapeLine } from '../escape.ts';

/** A row of `GET /v1/payloads` as far as it tells payloads apart. */
export interface OwnPayload {
  readonly id: string;
  readonly name: string;
  readonly pid: number | null;
  /** Secret name of its view. */
  readonly token: string | null;
}

export interface Speaker {
  /** `--payload`. */
  readonly wanted: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Itself and those that it descends from, nearest first. */
  readonly ancestors: readonly number[];
}

/** `none`: nothing says that it belongs to a payload. `unknown`: something does, but there is no such row. */
export type Chosen =
  | { readonly is: 'payload'; readonly payload: OwnPayload }
  | { readonly is: 'none' }
  | { readonly is: 'unknown' | 'several'; readonly why: string };

/**
 * By name where one is given. Else by the row that `exec` has named, else by the view (it stays when a daemon that has lost
 * its memory gives the row another id), else by the nearest ancestor that is a payload.
 */
export function choosePayload(payloads: readonly OwnPayload[], { wanted, env, ancestors }: Speaker): Chosen {
  if (wanted !== undefined) return byName(payloads, wanted);
  const id = idOf(env['MJF_PAYLOAD_URL']);
  const token = tokenOf(env['JOBFEATURES']);
  const named =
    payloads.find((payload) => payload.id === id) ??
    payloads.find((payload) => token !== null && payload.token === token);
  if (named !== undefined) return { is: 'payload', payload: named };
  for (const pid of ancestors) {
    const found = payloads.filter((payload) => payload.pid === pid);
    if (found.length > 0) return only(found, `process ${pid} stands for several payloads`);
  }
  if (id === null && token === null) return { is: 'none' };
  const sign = id === null ? 'JOBFEATURES' : 'MJF_PAYLOAD_URL';
  return { is: 'unknown', why: `the daemon does not know the payload that ${sign} names (any more)` };
}

/** `a (p-1), b (p-2)`, for a person to choose from. */
export const namesOf = (payloads: readonly OwnPayload[]): string =>
  payloads.map(({ id, name }) => `${escapeLine(name)} (${id})`).join(', ');

function byName(payloads: readonly OwnPayload[], wanted: string): Chosen {
  const found = payloads.find(({ id }) => id === wanted);
  if (found !== undefined) return { is: 'payload', payload: found };
  const called = payloads.filter(({ name }) => name === wanted);
  if (called.length === 0) return { is: 'unknown', why: `there is no payload "${wanted}" of yours` };
  return only(called, `several payloads are called "${wanted}"`);
}

function only(found: readonly OwnPayload[], otherwise: string): Chosen {
  const [payload, another] = found;
  if (payload !== undefined && another === undefined) return { is: 'payload', payload };
  return { is: 'several', why: `${otherwise}: ${namesOf(found)}` };
}

/** Of `…/v1/payloads/ID`. */
function idOf(url: string | undefined): string | null {
  const [, id] = /\/v1\/payloads\/([^/?#]+)\/?$/.exec(url ?? '') ?? [];
  try {
    return id === undefined ? null : decodeURIComponent(id);
  } catch {
    return null;
  }
}

/** Of `…/views/TOKEN/jobfeatures` or `…/p/TOKEN/jobfeatures`, wherever a container shows it. */
export const tokenOf = (place: string | undefined): string | null =>
  /\/(?:views|p)\/([^/]+)\/jobfeatures\/?$/.exec(place ?? '')?.[1] ?? null;
