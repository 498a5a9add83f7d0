/** OneGate's `GET /vm`: `{"VM":{NAME,ID,STATE,LCM_STATE,USER_TEMPLATE{},TEMPLATE{}}}`, all values strings. */
import type { Reading, StatedNotice } from '../lifetime/types.ts';
import { asRecord, asText, parseJson } from './json.ts';
import { type SiteKeys, siteKeys } from './site-keys.ts';
import { SourceError } from './source.ts';

export interface VirtualMachine {
  readonly id: string | undefined;
  readonly lcmState: Reading<StatedNotice>;
  /** `USER_TEMPLATE`; what is nested there is another program's. */
  readonly keys: SiteKeys;
}

/** The states in which the hypervisor has asked the guest to go down and waits for it. All others announce nothing. */
const GOING_DOWN: ReadonlyMap<string, string> = new Map([
  ['12', 'SHUTDOWN'],
  ['18', 'SHUTDOWN_POWEROFF'],
  ['29', 'SHUTDOWN_UNDEPLOY'],
]);

/** `minimumNoticeMs`: what is counted on from the moment the state is seen. @throws SourceError `bad_json`, `bad_document`, `other_vm` */
export function readVirtualMachine(text: string, vmId: string, minimumNoticeMs: number): VirtualMachine {
  const vm = asRecord(asRecord(parseJson(text, '/vm'))?.['VM']);
  if (vm === undefined) throw new SourceError('bad_document', '/vm is not what OneGate writes');
  const id = asText(vm['ID'])?.trim();
  if (id !== undefined && id !== vmId) throw new SourceError('other_vm', `/vm speaks of machine ${id.slice(0, 20)}`);
  const template = Object.entries(asRecord(vm['USER_TEMPLATE']) ?? {});
  return {
    id,
    lcmState: noticeOf(asText(vm['LCM_STATE'])?.trim(), minimumNoticeMs),
    keys: siteKeys(
      template.flatMap(([name, value]): readonly (readonly [string, string])[] => {
        const plain = asText(value);
        return plain === undefined ? [] : [[name, plain]];
      }),
    ),
  };
}

function noticeOf(state: string | undefined, minimumNoticeMs: number): Reading<StatedNotice> {
  if (state === undefined || !/^\d{1,4}$/.test(state)) return { is: 'unknown', error: 'no_lcm_state' };
  const name = GOING_DOWN.get(state);
  if (name === undefined) return { is: 'negative' };
  return {
    is: 'present',
    value: { kind: 'shutdown', deadlineMs: null, minimumNoticeMs, reason: `OpenNebula ${name}` },
  };
}
