import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Config } from '../../agent/config/types.ts';
import { chooseSources, createSources } from '../../agent/sources/create.ts';
import { type MachineFacts, NO_FACTS } from '../../agent/sources/facts.ts';
import { sourceDefinitions } from '../../agent/sources/index.ts';
import { sourceEnvironment } from './environment.ts';

const EC2_FACTS: MachineFacts = { ...NO_FACTS, dmi: { sys_vendor: 'Amazon EC2' } };
const detected = sourceDefinitions.filter(({ detect }) => detect !== undefined).map(({ name }) => name);
const always = sourceDefinitions.filter(({ detect }) => detect === undefined).map(({ name }) => name);

type Given = Pick<Config, 'sources' | 'source'>;
const config = (source: object = {}, sources: Config['sources'] = 'auto'): Given => ({
  sources,
  source: source as Config['source'],
});
const choice = (given: Given, name: string, facts = NO_FACTS) => {
  const found = chooseSources(given, { facts }).find(({ definition }) => definition.name === name);
  assert.ok(found);
  return { used: found.used, why: found.why, sign: found.sign };
};
const used = (given: Given, facts = NO_FACTS) =>
  chooseSources(given, { facts }).flatMap((each) => (each.used ? [each.definition.name] : []));

describe('which sources are used', () => {
  it('without any sign and any configuration, those that judge by themselves', () => {
    assert.deepEqual(used(config()), always);
    assert.deepEqual(choice(config(), 'ec2'), { used: false, why: 'not detected', sign: undefined });
    assert.deepEqual(choice(config(), 'mjf'), { used: true, why: 'always', sign: undefined });
  });

  it('a platform that is detected, and no other', () => {
    assert.deepEqual(used(config(), EC2_FACTS), used(config()).concat('ec2').sort(byList));
    assert.deepEqual(choice(config(), 'ec2', EC2_FACTS), {
      used: true,
      why: 'detected',
      sign: 'sys_vendor is "Amazon EC2"',
    });
  });

  it('`enabled = true` where nothing is detected', () => {
    for (const name of detected)
      assert.deepEqual(choice(config({ [name]: { enabled: true } }), name).why, 'configured', name);
  });

  it('`enabled = false` beats everything: detection, a base URL, a list', () => {
    const off = { ec2: { enabled: false, base_url: 'http://host' } };
    for (const sources of ['auto', ['ec2']] as const)
      assert.deepEqual(choice(config(off, sources as Config['sources']), 'ec2', EC2_FACTS), {
        used: false,
        why: 'turned off',
        sign: 'sys_vendor is "Amazon EC2"',
      });
  });

  it('a key that names the channel wants the source, one that does not leaves it to detection', () => {
    assert.equal(choice(config({ ec2: { base_url: 'http://host' } }), 'ec2').why, 'configured');
    assert.equal(choice(config({ ec2: { poll: '5s' } }), 'ec2').why, 'not detected');
    assert.equal(choice(config({ ec2: { poll: '5s' } }), 'ec2', EC2_FACTS).why, 'detected');
  });

  it('every source that is detected and has a base URL is wanted by it', () => {
    for (const { name, schema, explicitKeys } of sourceDefinitions) {
      if (!('base_url' in ((schema['properties'] ?? {}) as object))) continue;
      assert.ok(explicitKeys?.includes('base_url'), name);
      for (const key of explicitKeys ?? [])
        assert.ok(key in ((schema['properties'] ?? {}) as object), `${name}: ${key} is no key of its table`);
    }
  });

  it('one that was found before on this machine, although its sign is gone now (an ejected drive)', () => {
    const known = new Set(['ec2', 'openstack']);
    const of = (given: Given) =>
      chooseSources(given, { facts: NO_FACTS }, known).filter(({ why }) => why === 'known from before');
    assert.deepEqual(
      of(config({ openstack: { enabled: false } })).map(({ definition, used: isUsed }) => [definition.name, isUsed]),
      [['ec2', true]],
    );
    assert.deepEqual(of(config({}, ['mjf'])), []);
  });

  it('a list names all there are, detected or not', () => {
    const listed = config({}, ['ec2', 'mjf']);
    assert.deepEqual(used(listed), ['mjf', 'ec2']);
    assert.equal(choice(listed, 'ec2').why, 'configured');
    assert.deepEqual(choice(listed, 'directory', EC2_FACTS).why, 'not listed');
    assert.deepEqual(used(config({ gce: { base_url: 'http://host' } }, ['mjf']), EC2_FACTS), ['mjf']);
    assert.deepEqual(used(config({}, [])), []);
  });
});

describe('making them', () => {
  const names = (given: Given, environment = sourceEnvironment(), which: Parameters<typeof createSources>[2] = {}) => {
    const made = createSources(given, environment, which);
    for (const source of made) source.close?.();
    return made.map(({ name }) => name);
  };

  it('what is used and has something to read', () => {
    const given = config({ ec2: { base_url: 'http://127.0.0.1:1' }, static: { machinefeatures: { hs06: '1' } } });
    const made = names(given);
    assert.ok(made.includes('ec2') && made.includes('static'), `${made}`);
    assert.ok(!made.includes('mjf'), 'nobody says where it is');
  });

  it('by the facts of this machine', () => {
    assert.ok(names(config(), sourceEnvironment({ facts: EC2_FACTS })).includes('ec2'));
  });

  it('and what was found before', () => {
    assert.ok(names(config(), sourceEnvironment(), { known: new Set(['ec2']) }).includes('ec2'));
  });

  it('those that follow pointers come with one, and can be made alone', () => {
    const environment = sourceEnvironment({ pointers: { machinefeatures: 'http://127.0.0.1:1/mf' } });
    const given = config({ static: { machinefeatures: { hs06: '1' } } });
    const made = names(given, environment, { only: ({ followsPointers }) => followsPointers === true });
    assert.deepEqual(made, ['directory', 'mjf']);
  });

  it('every source of a platform can be made from an empty table, and asks nobody before it is read', () => {
    for (const name of detected) {
      const given = config({ [name]: { enabled: true } }, [name]);
      assert.doesNotThrow(() => names(given), name);
    }
  });

  it('no sign is found in facts that say nothing, and none throws on odd ones', () => {
    const odd: MachineFacts = {
      dmi: { sys_vendor: '\u001b[31m', product_name: '('.repeat(256), chassis_asset_tag: '__proto__' },
      labels: ['', '\\', '(', 'x'.repeat(256)],
      cloudId: '__proto__',
      hypervisorUuid: '',
      hasFwCfg: false,
    };
    for (const { name, detect } of sourceDefinitions) {
      assert.equal(detect?.(NO_FACTS), undefined, name);
      assert.equal(detect?.(odd), undefined, name);
    }
  });
});

const byList = (a: string, b: string): number => {
  const order = sourceDefinitions.map(({ name }) => name);
  return order.indexOf(a) - order.indexOf(b);
};
