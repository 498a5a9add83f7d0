/** Every source there is, strongest rank first (SEMANTICS S2.1). To add one, see source.ts. */
import { alibabaSource } from './alibaba.ts';
import { azureSource } from './azure.ts';
import { directorySource } from './directory.ts';
import { ec2Source } from './ec2.ts';
import { gceSource } from './gce.ts';
import { logindSource } from './logind.ts';
import { mjfSource } from './mjf.ts';
import { opennebulaSource } from './opennebula.ts';
import { openstackSource } from './openstack.ts';
import { oracleSource } from './oracle.ts';
import { qemuSource } from './qemu.ts';
import { scheduleSource } from './schedule.ts';
import { selfSource } from './self.ts';
import type { SourceDefinition } from './source.ts';
import { staticSource } from './static.ts';
import { tencentSource } from './tencent.ts';
import { vmwareSource } from './vmware.ts';

/** `never`: each definition takes its own table, already validated against its own schema. */
export const sourceDefinitions: readonly SourceDefinition<never>[] = [
  staticSource,
  directorySource,
  mjfSource,
  ec2Source,
  gceSource,
  azureSource,
  openstackSource,
  opennebulaSource,
  alibabaSource,
  tencentSource,
  oracleSource,
  vmwareSource,
  qemuSource,
  logindSource,
  scheduleSource,
  selfSource,
];
