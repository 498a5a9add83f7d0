/**
 * What a QEMU host writes on the guest's command line: fw_cfg files and SMBIOS OEM strings that are named after the keys of
 * Machine/Job Features (facts "platforms", "Others"). Neither changes while the machine runs.
 *
 *     -fw_cfg name=opt/org.example/machinefeatures/shutdowntime,string=1766440000
 *     -smbios type=11,value=org.example:jobfeatures/job_id=vm-17
 *
 * Only root may read either. An agent of its own user gets them as credentials of its unit:
 *
 *     LoadCredential=mjf.machinefeatures.shutdowntime:/sys/firmware/qemu_fw_cfg/by_name/opt/…/raw
 *     SetCredential=mjf.machinefeatures.shutdowntime:
 */
import type { Static } from 'typebox';
import type { FeatureReading, Reading, Side } from '../lifetime/types.ts';
import { ENABLED } from './platform-schema.ts';
import { credentialPlace, fwCfgPlace, oemStringsPlace, type Place, type Word } from './qemu-places.ts';
import { isUnknown, MAX_UNKNOWN_KEYS, siteKeys } from './site-keys.ts';
import type { ReadResult, Source, SourceDefinition, SourceEnvironment } from './source.ts';

const schema = {
  type: 'object',
  additionalProperties: false,
  description: 'QEMU fw_cfg files opt/…/machinefeatures/KEY and SMBIOS OEM strings machinefeatures/KEY=VALUE.',
  properties: { ...ENABLED },
} as const;

export type QemuConfig = Static<typeof schema>;

/** Some dozen small files of the kernel. */
const TIMEOUT_MS = 5_000;
const SIDES = ['machine', 'job'] as const satisfies readonly Side[];

/** One source, which gives keys and pointers and no notices of its own. */
export const qemuSource: SourceDefinition<QemuConfig | undefined> = {
  name: 'qemu',
  schema,
  detect({ hasFwCfg, hasOemStrings, dmi }) {
    if (hasFwCfg) return '/sys/firmware/qemu_fw_cfg is there';
    if (dmi.sys_vendor === 'QEMU') return 'sys_vendor is "QEMU"';
    return hasOemStrings === true ? 'the firmware has OEM strings' : undefined;
  },
  create(_config, environment) {
    const source: Source = {
      name: 'qemu',
      rank: 'platform',
      poll: 'once',
      timeoutMs: TIMEOUT_MS,
      read: async () => read(environment),
    };
    return [source];
  },
};

function read({ root, env, trace }: SourceEnvironment): ReadResult {
  const look = (asked: string, place: () => Place): Place => {
    const startedMs = performance.now();
    const found = place();
    const answered = found.fault?.code ?? (found.denied === undefined ? `${found.words.length} of ours` : 'denied');
    trace?.({ source: 'qemu', asked, answered, tookMs: performance.now() - startedMs });
    return found;
  };
  const places = [
    look('/sys/firmware/qemu_fw_cfg/by_name/opt', () => fwCfgPlace(root)),
    look('$CREDENTIALS_DIRECTORY', () => credentialPlace(env['CREDENTIALS_DIRECTORY'])),
    look('/sys/firmware/dmi/entries/11-*', () => oemStringsPlace(root)),
  ];
  const { words, cut } = wordsOf(places);
  const denied = places.map((place) => place.denied).find((file) => file !== undefined);
  const fault = places.map((place) => place.fault).find((error) => error !== undefined);
  const told = [...words.values()].some(({ value }) => value === 'absent' || 'text' in value);
  if (!told && denied !== undefined) return { outcome: 'no_channel', detail: hint(words, denied) };
  if (words.size === 0 && fault !== undefined) throw fault;
  if (words.size === 0)
    return {
      outcome: 'no_channel',
      detail: 'no fw_cfg file and no OEM string is named machinefeatures or jobfeatures',
    };
  // Only who has seen everything knows what is not there.
  const complete = denied === undefined && fault === undefined && !cut;
  return { outcome: 'answer', answer: answerOf([...words.values()], complete) };
}

/** Of the same name in several places the first that says something counts. `cut`: there are more than are taken. */
function wordsOf(places: readonly Place[]): { readonly words: ReadonlyMap<string, Word>; readonly cut: boolean } {
  const rank = ({ value }: Word): number => (value === 'absent' ? 1 : 'text' in value ? 2 : 0);
  const words = new Map<string, Word>();
  for (const word of places.flatMap((place) => place.words)) {
    const known = words.get(word.name);
    if (known === undefined || rank(word) > rank(known)) words.set(word.name, word);
  }
  const tooMany = [...words.keys()].filter((name) => isUnknown(speltOf(name))).slice(MAX_UNKNOWN_KEYS);
  for (const name of tooMany) words.delete(name);
  return { words, cut: tooMany.length > 0 || places.some((place) => place.cut) };
}

/**
 * The form in which a name says its side; names that nobody knows pass as if prefixed, since who wrote the side in front of
 * them means them for the payloads (S2.2).
 */
const speltOf = (name: string): string => (name.includes('/') ? `mjf@${name.replace('/', '@')}` : name);

function hint(words: ReadonlyMap<string, Word>, denied: string): string {
  const [first] = words.keys();
  if (first === undefined) return `${denied} may be read by root alone, and may hold keys`;
  const credential = `mjf.${first.replace('/', '.')}`;
  return `the host gives ${[...words.keys()].join(', ')}, which root alone may read: add LoadCredential=${credential}:${denied} and SetCredential=${credential}: to the unit, or run as root`;
}

function answerOf(words: readonly Word[], complete: boolean): Extract<ReadResult, { outcome: 'answer' }>['answer'] {
  const keys = { machine: new Map<string, Reading<string>>(), job: new Map<string, Reading<string>>() };
  const pointers = {};
  for (const { name, value } of words) {
    const reading = readingOf(value);
    const found = siteKeys([[speltOf(name), reading.is === 'present' ? reading.value : '']]);
    for (const side of SIDES) for (const key of Object.keys(found[side])) keys[side].set(key, reading);
    Object.assign(pointers, found.pointers);
  }
  const feature = (side: Side): FeatureReading => ({
    channel: 'firmware',
    complete,
    keys: Object.fromEntries(keys[side]),
  });
  return { machine: feature('machine'), job: feature('job'), pointers };
}

function readingOf(value: Word['value']): Reading<string> {
  if (value === 'absent') return { is: 'absent' };
  return 'text' in value ? { is: 'present', value: value.text } : { is: 'unknown', error: value.error };
}
