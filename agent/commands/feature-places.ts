/** Where the daemon publishes the features: in its runtime directory, or beside a mount that covers it there. */
import fs from 'node:fs';
import path from 'node:path';
import { BESIDE } from '../publish/files.ts';

/** Absolute directories. Touches nothing that may be a host's mount. */
export function featurePlaces(runtimeDir: string): { readonly machinefeatures: string; readonly jobfeatures: string } {
  const place = (name: string): string => {
    const beside = path.join(runtimeDir, BESIDE, name);
    return fs.existsSync(beside) ? beside : path.join(runtimeDir, name);
  };
  return { machinefeatures: place('machinefeatures'), jobfeatures: place('jobfeatures') };
}
