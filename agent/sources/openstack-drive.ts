/**
 * The documents on the config drive, which were written when the machine was made. Where the metadata service gives the same
 * document, that is the same one as it is now: then the drive's does not count any more.
 */
import type { Logger } from 'pino';
import type { Reading } from '../lifetime/types.ts';
import type { Drive, DriveContent } from './drive.ts';
import { META_DATA, readMetaData, readVendorData, VENDOR_DATA } from './openstack-document.ts';
import type { PartReport } from './parts.ts';
import type { SiteKeys } from './site-keys.ts';
import { SourceError } from './source.ts';

/**
 * What the drive says of the documents that are not `served` by then; undefined where there is no drive. It is looked at until
 * it was read.
 */
export type ReadConfigDrive = (
  signal: AbortSignal,
) => Promise<((served: ReadonlySet<string>) => PartReport) | undefined>;

interface Documents {
  /** By name, weakest first. */
  readonly keys: ReadonlyMap<string, SiteKeys>;
  readonly uuid: string | undefined;
}

/** @throws (what it gives) SourceError where no document can be used */
export function createConfigDrive(drive: Drive, log: Logger): ReadConfigDrive {
  let documents: Documents | undefined;
  return async (signal) => {
    const isNew = documents === undefined;
    if (documents === undefined) {
      const content = await drive.read(signal);
      if (content === undefined) return undefined;
      documents = documentsOf(content, log);
    }
    const known = documents;
    return (served) => ({
      ...reportOf(known, served),
      // Where there is a service, only the service tells whether the platform lives.
      ...(!isNew && served.size > 0 && { unasked: true }),
    });
  };
}

function documentsOf({ where, files }: DriveContent, log: Logger): Documents {
  const keys = new Map<string, SiteKeys>();
  const failures: SourceError[] = [];
  let uuid: string | undefined;
  for (const [name, file] of Object.entries(files)) {
    try {
      if (file === undefined) continue;
      if ('error' in file) throw new SourceError(file.error, `${name} of ${where} cannot be used (${file.error})`);
      const isVendors = VENDOR_DATA.some((each) => each === name);
      if (isVendors) keys.set(name, readVendorData(file.text, `${name} of ${where}`));
      else {
        const meta = readMetaData(file.text, `${name} of ${where}`);
        keys.set(META_DATA, meta.keys);
        uuid = meta.uuid ?? uuid;
      }
    } catch (error) {
      if (!(error instanceof SourceError)) throw error;
      failures.push(error);
    }
  }
  const [failure] = failures;
  if (failure !== undefined && keys.size === 0) throw failure;
  for (const { code, message } of failures)
    log.warn({ event: 'drive_file_unusable', source: 'openstack', error: code }, `openstack: ${message}`);
  const order = [META_DATA, ...VENDOR_DATA].reverse();
  return { keys: new Map([...keys].sort(([a], [b]) => order.indexOf(a) - order.indexOf(b))), uuid };
}

/** Names of served documents are taken back one by one: the drive does not know all that there is. */
function reportOf({ keys, uuid }: Documents, served: ReadonlySet<string>): PartReport {
  const machine: Record<string, Reading<string>> = {};
  const job: Record<string, Reading<string>> = {};
  let pointers: SiteKeys['pointers'] = {};
  for (const said of keys.values())
    for (const [into, from] of [
      [machine, said.machine],
      [job, said.job],
    ] as const)
      for (const key of Object.keys(from)) into[key] = { is: 'absent' };
  for (const [name, said] of keys) {
    if (served.has(name)) continue;
    Object.assign(machine, said.machine);
    Object.assign(job, said.job);
    pointers = { ...pointers, ...said.pointers };
  }
  const derived = uuid === undefined ? {} : { derived: { job: { job_id: { is: 'present', value: uuid } as const } } };
  return { machine, job, pointers, ...derived };
}
