/** What a registration must not do besides naming what is not its caller's: come twice, take too many places, name programs. */
import os from 'node:os';
import { isSamePayload } from '../../lifetime/target.ts';
import type { SnapshotPayload } from '../../lifetime/types.ts';
import type { Caller, Registration } from '../../ports.ts';
import type { HttpBounds } from './bounds.ts';
import { maySee } from './caller.ts';
import type { ChangeBody } from './payload-schema.ts';
import { ProblemError, refusal } from './problem.ts';

/** How long a client is told to wait for a place: payloads run for minutes at least. */
const RETRY_AFTER_SECS = '60';

/**
 * A client that did not hear our answer asks again: it learns where its row is, and nothing is signalled twice. Only `exec`
 * takes over its child from whoever was first, the configuration or the child itself: two would deliver otherwise.
 */
export function refuseTwice(payloads: readonly SnapshotPayload[], found: Pick<Registration, 'target' | 'deliverer'>) {
  const same = payloads.find(({ spec, state }) => state !== 'stopped' && isSamePayload(spec, found));
  if (same === undefined || (same.spec.deliverer === undefined && found.deliverer !== undefined)) return;
  throw new ProblemError('registered_already', 'This is registered already.', { headers: locationOf(same) });
}

/** Its owner learns whose view it is: the registration before, of which he did not hear the answer. */
export function refuseView(payloads: readonly SnapshotPayload[], view: string | undefined, caller: Caller): void {
  const same = payloads.find(({ spec }) => view !== undefined && spec.token === view);
  if (same === undefined) return;
  const headers = maySee(caller, same.spec.uid) ? { headers: locationOf(same) } : {};
  throw new ProblemError('view_taken', 'Another payload has this view.', headers);
}

export function refuseMany(payloads: readonly SnapshotPayload[], uid: number, bounds: HttpBounds): void {
  if (payloads.length >= bounds.maxPayloads) throw tooMany(`No more than ${bounds.maxPayloads} payloads.`);
  const ofUser = payloads.filter(({ spec }) => spec.uid === uid).length;
  if (uid !== 0 && ofUser >= bounds.maxPayloadsOfUser)
    throw tooMany(`No more than ${bounds.maxPayloadsOfUser} payloads of one user.`);
}

/** Signals of this system only; never a program: those run as the operator's user, so the configuration alone names them. */
export function checkSteps({ steps = [] }: Pick<ChangeBody, 'steps'>): void {
  for (const [index, { signal, hook }] of steps.entries()) {
    const at = { pointer: `#/steps/${index}/signal` };
    if (hook !== undefined || signal?.startsWith('hook:') === true) {
      throw refusal('hook_refused', 'Only the configuration may name programs: give signals.', {
        pointer: `#/steps/${index}/${hook === undefined ? 'signal' : 'hook'}`,
      });
    }
    if (signal === undefined) throw refusal('invalid', 'Each step needs a signal.', at);
    if (!Object.hasOwn(os.constants.signals, signal))
      throw refusal('invalid', `There is no signal ${signal} on this system.`, at);
  }
}

export const locationOf = ({ spec }: Pick<SnapshotPayload, 'spec'>) => ({
  location: `/v1/payloads/${encodeURIComponent(spec.id)}`,
});

const tooMany = (detail: string): ProblemError =>
  new ProblemError('too_many_payloads', detail, { headers: { 'retry-after': RETRY_AFTER_SECS } });
