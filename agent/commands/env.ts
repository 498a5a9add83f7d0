/** `mjf-agent env`: the variables of HSF-TN-2016-02 for a shell, a unit or a container. They name the agent's own output. */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { isServedBy, readBaseUrl } from '../client.ts';
import { EXIT } from '../exit-codes.ts';
import { defineCommand, RUNTIME_DIR_OPTION, runtimeDirOf, UsageError } from './command.ts';
import { featurePlaces } from './feature-places.ts';
import { explain } from './outcome.ts';

export const command = defineCommand({
  name: 'env',
  summary: 'print MACHINEFEATURES, JOBFEATURES and JOBOUTPUTS',
  usage: 'env [--url]',
  options: {
    url: { type: 'boolean', description: 'URLs instead of directories, for readers that need them' },
    ...RUNTIME_DIR_OPTION,
  },
  positionals: { least: 0, most: 0 },
  details: `One NAME=VALUE a line, for EnvironmentFile=, docker --env-file, or a shell:
  export $(mjf-agent env)
In a container of the machine's own network, bind the directory as a whole, so that changes are seen inside:
  apptainer exec --env-file <(mjf-agent env) --bind /run/mjf-agent:/run/mjf-agent:ro IMAGE COMMAND
  podman run --network=host --env-file <(mjf-agent env) --volume /run/mjf-agent:/run/mjf-agent:ro IMAGE COMMAND
JOBOUTPUTS is a URL in both cases and left out where the daemon has no HTTP interface.`,
  async run(context) {
    const runtimeDir = runtimeDirOf(context);
    // Neither unit files, nor --env-file, nor the shell line above agree on quoting, so there must be nothing to quote.
    if (!/^[\w./:@%+=,-]+$/.test(runtimeDir)) throw new UsageError('the runtime directory has characters to be quoted');
    // Not the port that a dead daemon left, on which somebody else may listen by now.
    const named = await readBaseUrl(runtimeDir);
    const base = named !== undefined && isServedBy(runtimeDir, named) ? named : undefined;
    if ((context.values.url && base === undefined) || !(await isFile(path.join(runtimeDir, 'lifetime.json')))) {
      if (!(await isFile(path.join(runtimeDir, 'lifetime.json'))))
        return explain(
          { unreachable: `the daemon does not run: nothing is published in ${runtimeDir}`, code: 'ENOENT' },
          runtimeDir,
          context,
        );
      context.complain(
        'the daemon has no HTTP interface, or does not run any more; "mjf-agent env" without --url names directories',
      );
      return EXIT.unavailable;
    }
    const places = context.values.url
      ? { machinefeatures: `${base}/machinefeatures`, jobfeatures: `${base}/jobfeatures` }
      : featurePlaces(runtimeDir);
    const joboutputs = base === undefined ? '' : `JOBOUTPUTS=${base}/joboutputs\n`;
    context.out(`MACHINEFEATURES=${places.machinefeatures}\nJOBFEATURES=${places.jobfeatures}\n${joboutputs}`);
    return EXIT.ok;
  },
});

async function isFile(file: string): Promise<boolean> {
  try {
    return (await stat(file)).isFile();
  } catch {
    return false;
  }
}
