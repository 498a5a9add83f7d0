/** A stand-in for Tencent Cloud's instance metadata: times are Chinese, without saying so. */
import { type SpotTimeHost, type SpotTimeHostOptions, spotTimeStandIn, startSpotTimeHost } from './spot-time-host.ts';

export const SPOT_PATH = '/latest/meta-data/spot/termination-time';
export const INSTANCE_ID_PATH = '/latest/meta-data/instance-id';
export const CHARGE_TYPE_PATH = '/latest/meta-data/payment/charge-type';

const EAST_OF_UTC_MS = 8 * 3_600_000;

export function startTencentHost(options: SpotTimeHostOptions = {}): Promise<SpotTimeHost> {
  return startSpotTimeHost(options, {
    name: 'tencent',
    spotPath: 'spot/termination-time',
    texts: {
      'instance-id': 'ins-3g445roi',
      'payment/charge-type': 'SPOTPAID',
      // A time of its own, and not that of this machine's end.
      'payment/create-time': '2018-09-18 11:27:33',
      'placement/zone': 'ap-guangzhou-3',
    },
    write: (ms) => new Date(ms + EAST_OF_UTC_MS).toISOString().slice(0, 19).replace('T', ' '),
  });
}

export const standIn = spotTimeStandIn('tencent', startTencentHost, {
  help: '  (set payment/charge-type POSTPAID_BY_HOUR: no spot machine)\n',
  obey: () => false,
});
