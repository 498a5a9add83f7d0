/** A valid table → the typed Config with its defaults. The defaults stand in the schema and nowhere else. */
import { durationMs } from '../duration.ts';
import { withoutTrailingSlash } from './formats.ts';
import { type ListenAddress, parseListenAddress } from './listen.ts';
import { baseSchema, type RawConfig } from './schema.ts';
import { toPayload, toStep } from './typed-payload.ts';
import { toReport } from './typed-report.ts';
import type { Config, HooksConfig, WebhookConfig } from './types.ts';

const top = baseSchema.properties;
const stopDefaults = top.stop.properties;
const publishDefaults = top.publish.properties;
const hooksDefaults = top.hooks.properties;
const webhookDefaults = top.webhook.items.properties;

/**
 * Presumes that the table has passed `validateShape` or consists of checked values only. Throws nothing then. A payload
 * whose regular expression is none is left out: rules.ts tells of it.
 */
export function toConfig(raw: RawConfig, knownSources: readonly string[]): Config {
  const runtimeDir = withoutTrailingSlash(raw.runtime_dir ?? top.runtime_dir.default);
  return {
    listen: toListen(raw.listen ?? top.listen.default),
    runtimeDir,
    stateDir: withoutTrailingSlash(raw.state_dir ?? top.state_dir.default),
    journalDir: raw.journal_dir === undefined ? `${runtimeDir}-state` : withoutTrailingSlash(raw.journal_dir),
    sources: raw.sources ?? top.sources.default,
    source: Object.fromEntries(Object.entries(raw.source ?? {}).filter(([name]) => knownSources.includes(name))),
    stop: {
      drainMs: durationMs(raw.stop?.drain ?? stopDefaults.drain.default),
      graceMs: durationMs(raw.stop?.grace ?? stopDefaults.grace.default),
      steps: (raw.stop?.steps ?? stopDefaults.steps.default).map(toStep),
      atDeadline: raw.stop?.at_deadline ?? stopDefaults.at_deadline.default,
      whenDone: raw.stop?.when_done ?? stopDefaults.when_done.default,
      idleMs: durationMs(raw.stop?.idle ?? stopDefaults.idle.default),
    },
    payloads: (raw.payload ?? []).flatMap((payload) => toPayload(payload) ?? []),
    hooks: toHooks(raw.hooks ?? {}),
    webhooks: (raw.webhook ?? []).map(toWebhook),
    handSocket: raw.hand_socket ?? top.hand_socket.default,
    notice: { ...raw.notice },
    publish: {
      shutdownKeys: raw.publish?.shutdown_keys ?? publishDefaults.shutdown_keys.default,
      shutdownTimeFile: raw.publish?.shutdown_time_file ?? null,
      linkEtc: raw.publish?.link_etc ?? publishDefaults.link_etc.default,
    },
    report: toReport(raw.report ?? {}),
    log: { level: raw.log?.level ?? top.log.properties.level.default },
    adminGroup: raw.admin_group ?? null,
  };
}

function toListen(raw: string | readonly string[]): Config['listen'] {
  const texts = typeof raw === 'string' ? [raw] : raw;
  const addresses = texts.flatMap((text): readonly ListenAddress[] => parseListenAddress(text) ?? []);
  return addresses.length === 0 ? 'off' : addresses;
}

function toHooks(raw: NonNullable<RawConfig['hooks']>): HooksConfig {
  return {
    dir: withoutTrailingSlash(raw.dir ?? hooksDefaults.dir.default),
    user: raw.user === undefined ? null : String(raw.user),
    timeoutMs: durationMs(raw.timeout ?? hooksDefaults.timeout.default),
  };
}

function toWebhook(raw: NonNullable<RawConfig['webhook']>[number]): WebhookConfig {
  return {
    url: raw.url,
    events: raw.events ?? webhookDefaults.events.default,
    authorizationFile: raw.authorization_file ?? null,
    caFile: raw.ca ?? null,
    certFile: raw.cert ?? null,
    keyFile: raw.key ?? null,
  };
}
