/** Who says the last word, and to whom: the daemon, as one of the caller's payloads, or as the machine itself. */
import { type Channel, type DaemonAnswer, request } from '../client.ts';
import { EXIT } from '../exit-codes.ts';
import type { FinalWord } from '../lifetime/types.ts';
import { ProcessUnreadableError, readProcessStat } from '../payloads/process.ts';
import type { Output } from './command.ts';
import { wordText } from './final-word.ts';
import { type Chosen, choosePayload, namesOf, type OwnPayload, tokenOf } from './finish-payload.ts';
import { ANSWER_TIMEOUT_MS, explain, refusal } from './outcome.ts';

/** Deeper than anybody starts processes, so that a /proc that changes meanwhile leads nobody in a circle. */
const MAX_ANCESTORS = 256;
const ROOT = 0;

export interface FinishWish {
  readonly word: FinalWord;
  /** `--payload`. */
  readonly wanted: string | undefined;
  readonly runtimeDir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly uid: number;
  /** Itself and those that it descends from, nearest first. */
  readonly ancestors: readonly number[];
}

/** Gives the exit code. */
export async function sayFinalWord(wish: FinishWish, output: Output): Promise<number> {
  const { word, runtimeDir, uid } = wish;
  const { channel, answer } = await askRows(runtimeDir, uid);
  const payloads = 'unreachable' in answer || answer.status !== 200 ? null : parseRows(answer.body);
  if (payloads === null) return refusal(answer, runtimeDir, output);
  const chosen = choosePayload(payloads, wish);
  if (chosen.is === 'none' && uid === ROOT) {
    // No `by`: that is a payload's matter.
    const said = await send('admin', runtimeDir, '/v1/final_word', wordBody(word));
    if (isRefused(said)) return explain(said, runtimeDir, output);
    output.out(`${wordText(word)} (the machine's own word: this process belongs to no payload)\n`);
    return EXIT.ok;
  }
  if (chosen.is !== 'payload') {
    output.complain(`${whyNot(chosen)}; ${advice(payloads)}`);
    return EXIT.failure;
  }
  const { id } = chosen.payload;
  const path = `/v1/payloads/${encodeURIComponent(id)}/final_word`;
  const said = await send(channel, runtimeDir, path, { ...wordBody(word), by: 'payload' });
  if (!('unreachable' in said) && said.status === 404) {
    output.complain(`${namesOf([chosen.payload])} has ended meanwhile: it can say nothing any more`);
    return EXIT.failure;
  }
  if (isRefused(said)) return explain(said, runtimeDir, output);
  output.out(`${namesOf([chosen.payload])}: ${wordText(word)}\n`);
  return EXIT.ok;
}

/** This process and its ancestors, nearest first, as far as they can be seen. */
export function ancestorsOf(pid: number, procRoot = '/proc'): readonly number[] {
  const found: number[] = [];
  for (let next = pid; next > 1 && found.length < MAX_ANCESTORS; ) {
    found.push(next);
    next = parentOf(next, procRoot);
  }
  return found;
}

function parentOf(pid: number, procRoot: string): number {
  try {
    return readProcessStat(pid, procRoot)?.ppid ?? 0;
  } catch (error) {
    if (error instanceof ProcessUnreadableError) return 0;
    throw error;
  }
}

/** Over TCP, where the daemon sees whose rows are asked for; root may ask over admin.sock where there is no HTTP interface. */
async function askRows(
  runtimeDir: string,
  uid: number,
): Promise<{ readonly channel: Channel; readonly answer: DaemonAnswer }> {
  const ask = async (channel: Channel) => ({
    channel,
    answer: await request({
      channel,
      runtimeDir,
      method: 'GET',
      path: '/v1/payloads',
      timeoutMs: ANSWER_TIMEOUT_MS,
    }),
  });
  const first = await ask('tcp');
  return uid === ROOT && 'unreachable' in first.answer ? ask('admin') : first;
}

const send = (channel: Channel, runtimeDir: string, path: string, body: unknown): Promise<DaemonAnswer> =>
  request({ channel, runtimeDir, method: 'POST', path, body, timeoutMs: ANSWER_TIMEOUT_MS });

const wordBody = ({ code, text }: FinalWord) => ({ code, ...(text !== '' && { text }) });

const isRefused = (answer: DaemonAnswer): boolean =>
  'unreachable' in answer || answer.status < 200 || answer.status > 299;

const whyNot = (chosen: Exclude<Chosen, { is: 'payload' }>): string =>
  chosen.is === 'none' ? 'this process belongs to no payload that the daemon knows' : chosen.why;

const advice = (payloads: readonly OwnPayload[]): string =>
  payloads.length === 0
    ? 'you have none: start it with "mjf-agent exec", or register it with POST /v1/payloads'
    : `say whose word it is with --payload ID: ${namesOf(payloads)}`;

/** null: this is no list of payloads. */
function parseRows(body: Buffer): readonly OwnPayload[] | null {
  try {
    const value: unknown = JSON.parse(body.toString());
    return Array.isArray(value) ? value.flatMap((row: unknown) => parseRow(row) ?? []) : null;
  } catch {
    return null;
  }
}

function parseRow(value: unknown): OwnPayload | null {
  if (typeof value !== 'object' || value === null) return null;
  const { id, name, pid, view } = value as Record<string, unknown>;
  if (typeof id !== 'string' || typeof name !== 'string') return null;
  const place = (view as { readonly jobfeatures_path?: unknown } | null | undefined)?.jobfeatures_path;
  return {
    id,
    name,
    pid: typeof pid === 'number' ? pid : null,
    token: typeof place === 'string' ? tokenOf(place) : null,
  };
}
