/** The faces of one agent compared: files, HTTP, and the one document that both come from (DESIGN.md, promise 2). */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { httpValue, type TestAgent } from '../support/agent.ts';
import { FOLDERS } from '../support/host-directories.ts';
import type { Lifetime } from '../support/lifetime-document.ts';

/**
 * Every key of both sides is the same in directory, listing, HTTP and document, and there is none besides; the document is
 * the same bytes in the file and over HTTP. The truth must not change meanwhile. Gives the document.
 */
export async function assertFacesAgree(agent: TestAgent): Promise<Lifetime> {
  const { body, headers } = await agent.request('/v1/lifetime');
  await untilFileIs(agent, body.toString());
  const document = JSON.parse(body.toString()) as Lifetime;
  for (const folder of Object.values(FOLDERS)) {
    const keys = Object.keys(document[folder]).sort();
    assert.deepEqual(fs.readdirSync(path.join(agent.runtimeDir, folder)).sort(), keys, `files of ${folder}`);
    const listing = await httpValue(agent, `/${folder}/`);
    assert.deepEqual(listing?.split('\n').slice(0, -1).sort(), keys, `listing of ${folder}`);
    for (const key of keys) {
      const value = `${document[folder][key]?.value}\n`;
      assert.equal(agent.file(`${folder}/${key}`), value, `file ${folder}/${key}`);
      assert.equal(await httpValue(agent, `/${folder}/${key}`), value, `GET /${folder}/${key}`);
    }
  }
  const absent = await agent.request('/machinefeatures/nobody_gave_this');
  assert.deepEqual([absent.status, absent.body.toString()], [404, '']);
  const again = await agent.request('/v1/lifetime');
  assert.equal(again.headers.etag, headers.etag, 'nothing changed while the faces were compared');
  return document;
}

/**
 * The document is written last, and on a busy machine what takes longer than its bound is written after HTTP has changed
 * (SYSTEMS.md, "Order of effects"); from then on nothing may differ.
 */
async function untilFileIs(agent: TestAgent, text: string): Promise<void> {
  const giveUpAt = Date.now() + 10_000;
  while (agent.file('lifetime.json') !== text && Date.now() < giveUpAt) await new Promise(setImmediate);
  assert.equal(agent.file('lifetime.json'), text, 'lifetime.json is GET /v1/lifetime, byte for byte');
}

/** All of the truth but how its sources fare and what a test left there as a mark. */
export function withoutSources(document: Lifetime): unknown {
  const { sources: _sources, machinefeatures, ...rest } = document;
  const { test_mark: _mark, ...kept } = machinefeatures;
  return { ...rest, machinefeatures: kept };
}

/** The sample of this very name and labels in `/metrics`; undefined where there is none. */
export async function metric(agent: TestAgent, sample: string): Promise<number | undefined> {
  const { body } = await agent.request('/metrics');
  const line = body
    .toString()
    .split('\n')
    .find((each) => each.startsWith(`${sample} `));
  return line === undefined ? undefined : Number(line.slice(sample.length + 1));
}

/** Between two looks at what announces itself to nobody. */
const LOOK_MS = 50;

/** Resolves once the source has been read `count` more times. */
export async function furtherReads(agent: TestAgent, source: string, count: number): Promise<void> {
  const reads = async (): Promise<number> => {
    const rows = JSON.parse((await agent.request('/v1/sources')).body.toString()) as { name: string; reads: number }[];
    return rows.find(({ name }) => name === source)?.reads ?? 0;
  };
  const target = (await reads()) + count;
  const giveUpAt = Date.now() + 20_000;
  while ((await reads()) < target) {
    if (Date.now() > giveUpAt) throw new Error(`${source} is not read any more`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}
