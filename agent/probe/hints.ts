/** What a person should check, configure or know, from what was found. Pure. */
import { formatDuration } from '../duration.ts';
import type { Found } from './probe.ts';
import type { Hint, ProbedSource, ProbeReport } from './types.ts';

export interface HintContext {
  /** Whether we ask as root, whom firewalls of images let through. */
  readonly isRoot: boolean;
}

const leadsToHost = ({ used, channel }: ProbedSource): boolean => used && channel === 'host';
/** Not by a variable: in a payload's shell that is the agent's own output, and the place behind it may well be empty. */
const wasNamed = ({ why }: ProbedSource): boolean => why !== 'always' && why !== 'environment';

const NAMED_BY: Readonly<Record<string, string>> = { metadata: 'named by the metadata' };

/** Whether a channel was to be expected and none answered. */
export function isDisappointing({ sources }: Pick<Found, 'sources'>): boolean {
  const channels = sources.filter(leadsToHost);
  if (channels.some(({ outcome }) => outcome === 'answer')) return false;
  return channels.some((each) => each.outcome === 'failed' || (each.outcome === 'no_channel' && wasNamed(each)));
}

export function hintsOf(found: Found, daemon: ProbeReport['daemon'], context: HintContext): readonly Hint[] {
  const channels = found.sources.filter(leadsToHost);
  const hints: Hint[] = [];
  if (channels.every(({ outcome }) => outcome === 'no_channel'))
    hints.push({
      code: 'nothing_found',
      text:
        'No channel of a host was found. Let the host mount its directory at /etc/machinefeatures and /etc/jobfeatures, or ' +
        'name the place: --machinefeatures, [source.mjf] machinefeatures = "http://…", or your platform, as in ' +
        '[source.ec2] enabled = true.',
    });
  for (const source of found.sources) hints.push(...hintsOfSource(source, context));
  for (const name of found.ownOutput)
    hints.push({ code: 'own_output', text: `${name} names the agent's own output, which is no source: not asked.` });
  hints.push(...hintsOfDaemon(found, daemon));
  return hints;
}

function hintsOfSource(source: ProbedSource, context: HintContext): readonly Hint[] {
  const { name, error, sign } = source;
  const hints: Hint[] = [];
  const refused = source.asked.filter(({ answered }) => answered === '401' || answered === '403');
  const first = refused[0];
  if (first !== undefined)
    hints.push({
      code: 'forbidden',
      text:
        `${name}: ${first.what} was refused (${first.answered}${refused.length > 1 ? `, and ${refused.length - 1} more` : ''}). ` +
        'The metadata service, or a part of it such as instance tags, is turned off for this machine; or its token is wrong.',
    });
  else if (error !== null) hints.push(failureHint(source, error, context));
  if (source.asked.some(({ what, answered }) => what.startsWith('PUT ') && answered === 'timeout'))
    hints.push({
      code: 'hop_limit',
      text:
        `${name}: the session token was not answered, as in a container where answers may travel only one hop. Raise the ` +
        "hop limit of the instance's metadata options to 2, or use the host's network.",
    });
  if (source.outcome === 'no_channel' && wasNamed(source))
    hints.push({
      code: 'named_not_there',
      text: `${name}: ${NAMED_BY[source.why] ?? source.why}, but not there. Correct the place, or let the host mount it.`,
    });
  if (!source.used && sign !== null)
    hints.push({ code: 'detected_not_used', text: `${name}: detected (${sign}), but ${source.why}.` });
  if (Object.keys(source.faults).length > 0 && error === null)
    hints.push({
      code: 'faults',
      text: `${name}: no good value of ${Object.entries(source.faults)
        .map(([key, code]) => `${key} (${code})`)
        .join(', ')}.`,
    });
  const offset = source.clock_offset_secs;
  if (offset !== null)
    hints.push({
      code: 'clock',
      text:
        `${name}: the host's clock is ${formatDuration(Math.abs(offset) * 1000)} ${offset > 0 ? 'ahead of' : 'behind'} ` +
        "this machine's: check NTP. The agent plans by the host's clock.",
    });
  return hints;
}

const UNREACHABLE = ['timeout', 'refused', 'network', 'reset', 'aborted'];

function failureHint(source: ProbedSource, error: string, { isRoot }: HintContext): Hint {
  const { name, detail } = source;
  if (source.channel === 'host' && source.rank !== 'directory' && UNREACHABLE.includes(error)) {
    const other = isRoot ? 'the user of the agent' : 'root';
    const unwanted = ` If it is not meant for this machine: [source.${name}] enabled = false.`;
    return {
      code: 'unreachable',
      text:
        `${name}: no answer (${error}). Check the address, the route and the firewall; many images let only root reach a ` +
        `metadata service, so try as ${other} too. In a container, raise the hop limit to 2 or use the host's network.` +
        (source.rank === 'platform' ? unwanted : ''),
    };
  }
  switch (error) {
    case 'dns':
      return {
        code: 'dns',
        text: `${name}: the name of the server cannot be resolved. Check the resolver, or name the address in [source.${name}].`,
      };
    case 'tls':
      return { code: 'tls', text: `${name}: ${detail}. Check ca, cert and key in [source.${name}].` };
    case 'hung':
      return { code: 'hung', text: `${name}: the share hangs. Check the server behind the mount.` };
    default:
      return {
        code: /^http_(429|5\d\d)$/.test(error) ? 'busy' : 'bad_answer',
        text: `${name}: ${detail ?? error} (${error}).`,
      };
  }
}

function hintsOfDaemon({ would }: Found, daemon: ProbeReport['daemon']): readonly Hint[] {
  if (!daemon.running)
    return [{ code: 'no_daemon', text: 'The daemon does not run here: "mjf-agent run", or start its service.' }];
  if (daemon.deadline === would.deadline && daemon.phase === would.phase) return [];
  return [
    {
      code: 'daemon_differs',
      text: 'The daemon says otherwise ("mjf-agent status"): it remembers what hosts said before and what the operator said, and may have been started with options of its own.',
    },
  ];
}
