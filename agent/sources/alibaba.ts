/**
 * Alibaba Cloud ECS: the time at which a spot machine is taken back (facts "platforms", "Others"; Alibaba's "Instance
 * metadata"). Whether a machine is a spot machine, and its tags, are no documented part of its metadata.
 */
import { spotTimeSource } from './spot-time.ts';

export const alibabaSource = spotTimeSource({
  name: 'alibaba',
  vendor: 'Alibaba Cloud',
  cloudId: /^aliyun$/,
  baseUrl: 'http://100.100.100.200',
  spotPath: '/latest/meta-data/instance/spot/termination-time',
  // Written with `Z`.
  zoneMinutes: 0,
  instanceIdPath: '/latest/meta-data/instance-id',
  // "Security hardening mode"; it answers without tokens where the site has not forbidden that.
  token: {
    path: '/latest/api/token',
    ttlHeader: 'X-aliyun-ecs-metadata-token-ttl-seconds',
    tokenHeader: 'X-aliyun-ecs-metadata-token',
  },
});
