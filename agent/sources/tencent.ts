/**
 * Tencent Cloud CVM: the time at which a spot machine is taken back, and whether it is one (facts "platforms", "Others";
 * Tencent's "Querying Instance Metadata" and "Querying the Reclamation Status of a Spot Instance").
 */
import { spotTimeSource } from './spot-time.ts';

export const tencentSource = spotTimeSource({
  name: 'tencent',
  vendor: 'Tencent Cloud',
  cloudId: /^tencent/,
  baseUrl: 'http://metadata.tencentyun.com',
  spotPath: '/latest/meta-data/spot/termination-time',
  // Written as `2018-08-18 12:05:33`, in Chinese time wherever the machine is.
  zoneMinutes: 480,
  instanceIdPath: '/latest/meta-data/instance-id',
  // The other values of Tencent's API are PREPAID, POSTPAID_BY_HOUR and CDHPAID.
  chargeType: { path: '/latest/meta-data/payment/charge-type', spot: 'SPOTPAID' },
});
