/**
 * Azure switches the Scheduled Events of a machine on when they are asked for first, and that first answer may take two
 * minutes. Until it has come, one patient request waits for it, beyond any single reading; from the second reading on it has
 * an ordinary one beside it, in case that it hangs for another reason.
 */
import { SourceError } from './source.ts';

export interface FirstAnswer<T> {
  /** @throws what `ask` throws; SourceError `timeout` when `signal` is aborted first. */
  ask(signal: AbortSignal): Promise<T>;
}

/** The two minutes of the vendor's documents, and a little. */
const PATIENCE_MS = 130_000;

/** `ask` must end when its signal is aborted, or when the client that it uses is closed. */
export function patientAtFirst<T>(
  ask: (signal: AbortSignal, timeoutMs: number) => Promise<T>,
  timeoutMs: number,
): FirstAnswer<T> {
  let answered = false;
  let waiting: { readonly answer: Promise<T>; readonly cancel: AbortController } | undefined;

  function startPatient(): NonNullable<typeof waiting> {
    const cancel = new AbortController();
    const answer = ask(cancel.signal, PATIENCE_MS);
    const started = { answer, cancel };
    answer.then(
      () => {
        answered = true;
      },
      () => {
        if (waiting === started) waiting = undefined;
      },
    );
    return started;
  }

  async function askBeside(patient: NonNullable<typeof waiting>, signal: AbortSignal): Promise<T> {
    const beside = new AbortController();
    try {
      const ordinary = ask(AbortSignal.any([signal, beside.signal]), timeoutMs);
      return await Promise.race([patient.answer.catch(() => ordinary), ordinary]);
    } finally {
      beside.abort();
    }
  }

  return {
    async ask(signal) {
      if (answered) return await ask(signal, timeoutMs);
      const before = waiting;
      waiting ??= startPatient();
      const answer = await within(before === undefined ? waiting.answer : askBeside(before, signal), signal);
      answered = true;
      waiting?.cancel.abort();
      return answer;
    },
  };
}

function within<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(new SourceError('timeout', 'no answer yet; the first one may take two minutes'));
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
