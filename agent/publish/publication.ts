/** A Snapshot made ready to be shown: serialised once, so that file, GET and stream carry the same bytes. */
import { jobStatus, lifetimeDocument } from '../lifetime/document.ts';
import type { Snapshot, SnapshotFeature, SnapshotPayload } from '../lifetime/types.ts';
import { viewOf } from '../lifetime/view.ts';
import type { Publication } from '../ports.ts';
import { etagOf } from './etag.ts';

/**
 * The publication of a Snapshot; the very object given as `before` where nothing that anybody can see has changed, so
 * that an unchanged truth causes no write, no event and no new ETag.
 */
export function publicationOf(
  snapshot: Snapshot,
  payloads: readonly SnapshotPayload[],
  before: Publication | null,
): Publication {
  const lifetimeJson = Buffer.from(`${JSON.stringify(lifetimeDocument(snapshot))}\n`);
  const unchanged = before?.lifetimeJson.equals(lifetimeJson) === true;
  if (before !== null && unchanged && samePayloads(before.payloads, payloads)) return before;
  const views: Record<string, { readonly job: Readonly<Record<string, string>> }> = {};
  for (const payload of payloads)
    if (payload.spec.token !== undefined) views[payload.spec.token] = { job: viewOf(snapshot, payload) };
  return {
    snapshot,
    lifetimeJson: before !== null && unchanged ? before.lifetimeJson : lifetimeJson,
    etag: before !== null && unchanged ? before.etag : etagOf(lifetimeJson),
    machine: values(snapshot.machine),
    job: values(snapshot.job),
    jobstatus: jobStatus(snapshot),
    views,
    payloads,
  };
}

const values = (side: Readonly<Record<string, SnapshotFeature>>): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(side).map(([key, feature]) => [key, feature.value]));

function samePayloads(a: readonly SnapshotPayload[], b: readonly SnapshotPayload[]): boolean {
  return a.length === b.length && a.every((row, index) => sameRow(row, b[index]));
}

function sameRow(a: SnapshotPayload, b: SnapshotPayload | undefined): boolean {
  if (b === undefined || a.spec !== b.spec || a.state !== b.state || a.deadlineMs !== b.deadlineMs) return false;
  if (a.stopAtMs !== b.stopAtMs || a.episode !== b.episode || a.plan.length !== b.plan.length) return false;
  return a.plan.every((step, index) => {
    const other = b.plan[index];
    return step.state === other?.state && step.dueMs === other.dueMs && step.rest === other.rest;
  });
}
