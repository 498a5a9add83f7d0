/**
 * The payloads' and the agent's words to the site: `$JOBOUTPUTS`, a flat place that takes files, as a URL (PUT) or a
 * directory (HSF-TN-2016-04, "Vacuum Platform"; mjf.md, "VM to site"). Nothing here ever delays a signal: files are queued,
 * delivered one after the other, and tried again until the agent ends; what is left then waits on disk for the next start.
 */
import type { MachineIdentity } from '../machine-identity.ts';
import { pause } from '../pause.ts';
import { type Channel, type ChannelOptions, channelOf } from './joboutputs-channel.ts';
import { ANSWER_FILE, answerOf, heartbeatText, MESSAGE_FILE, messageOf } from './joboutputs-words.ts';
import { type Deliver, openOutbox } from './outbox.ts';
import { CLOSE_BOUND_MS, type Reporter, type ReporterEnvironment, type SiteNews } from './reporter.ts';
import { openSpool, type SpoolEntry } from './spool.ts';

export { ANSWER_FILE, MESSAGE_FILE } from './joboutputs-words.ts';

/** What waits for a site that does not answer: enough for the logs of a machine's last minutes, small beside its memory. */
const MAX_QUEUED_BYTES = 8 * 1024 * 1024;
const MAX_QUEUED_FILES = 64;
/** Of that one user may fill this part: a site that is away, or refuses his names, must not cost the others their files. */
const SHARE_OF_USER = 0.5;
/** So many names are remembered as somebody's, and of one user: at the site the first who used a name must not lose it. */
const MAX_NAMES = 4096;
const MAX_NAMES_OF_USER = 256;
const ROOT = 0;
/** Of the time for closing: for what a disk still reads at the beginning, and still writes at the end. */
const CLOSE_DISK_MS = 200;

export interface JobOutputs extends Reporter {
  /**
   * Queues a payload's file; the latest content of a name wins. `stored`: it outlives a crash and a reboot, or, where the
   * disk refuses, the agent at least tries for as long as it lives. `taken`: the name is another user's.
   */
  put(name: string, body: Buffer, uid: number): Promise<'stored' | 'no_channel' | 'full' | 'taken'>;
  /** The place by a platform's metadata: taken where neither configuration nor environment names one (mjf.md, "Locations"). */
  pointTo(place: string | undefined): void;
}

export interface JobOutputsOptions extends ChannelOptions, Pick<ReporterEnvironment, 'count'> {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What the site has not taken yet is kept there; null = in memory only. */
  readonly spoolDir: string | null;
  /** Whose spool it is (S4.1). */
  readonly identity: Pick<MachineIdentity, 'machineId' | 'bootId'>;
}

/**
 * The channel: configuration, else `$JOBOUTPUTS` of the agent's own environment where it does not name the agent itself.
 * Without one, everything is answered `no_channel`. The agent's own words have a line of their own: no payload's file can
 * crowd out the heartbeat or the last message.
 */
export function openJobOutputs(options: JobOutputsOptions): JobOutputs {
  const { config, log, count, spoolDir, identity, env } = options;
  const spool = openSpool({ dir: spoolDir, identity, log, count });
  let channel = channelOf(options, env['JOBOUTPUTS']);
  const isNamed = channel !== null;
  let pointedTo: string | undefined;
  /** Payloads' files that the site does not have yet, also while there is no channel. */
  const queued = new Map<string, QueuedFile>();
  /** Whose a name is, the latest used last. */
  const owners = new Map<string, number>();
  /** Until it is known what former runs left: names that have newer content since. */
  const overtaken = new Set<string>();
  let isRead = spoolDir === null;
  let former: Former | null = spoolDir === null ? NOTHING_LEFT : null;
  let latest: SiteNews | null = null;
  /** What `shutdown_message` says or is to say at the site; undefined: nobody has looked yet. */
  let word: string | null | undefined;
  let shown: SiteNews['publication'] | null = null;
  let hasAnswered = false;
  let beating: NodeJS.Timeout | undefined;
  let closing = false;

  const deliver: Deliver = async (name, body, signal) =>
    channel === null ? { code: 'no_channel', final: false } : channel.deliver(name, body, signal);
  const own = openOutbox({
    reporter: 'joboutputs',
    log,
    count,
    settled: onOwnSettled,
    // Whatever the site has against it, it may be mended before the machine goes; only we ourselves never are a site.
    async deliver(...what) {
      const failure = await deliver(...what);
      return failure === null ? null : { ...failure, final: failure.code === 'own_output' };
    },
  });
  const files = openOutbox({
    reporter: 'joboutputs',
    log,
    count,
    deliver,
    settled(name) {
      // What is still being written to the disk has its turn when it is there.
      if (queued.get(name)?.isHeld === true) return;
      queued.delete(name);
      spool.remove('files', name);
    },
  });

  function takeFile(name: string, file: QueuedFile): void {
    queued.set(name, file);
    sendFile(name, file);
  }

  function sendFile(name: string, file: QueuedFile): void {
    file.isHeld = false;
    if (channel !== null) files.want(name, file.body, { always: true });
  }

  /**
   * To the disk first, then to the site: what is there only, a crash would let follow by the older content on the disk. A
   * disk that refuses or hangs holds it back for the spool's bound at the most.
   */
  async function keepFile(name: string, body: Buffer, uid: number): Promise<void> {
    const file: QueuedFile = { body, uid, isHeld: spoolDir !== null };
    if (!file.isHeld) return takeFile(name, file);
    queued.set(name, file);
    await spool.save('files', name, body, uid);
    const newest = queued.get(name);
    // Newer content has gone before it, or it has itself, while the agent was ending.
    if (newest?.isHeld !== true) return;
    if (newest === file) sendFile(name, file);
    // Who writes one name without pause shall be heard at the site in between.
    else if (channel !== null) files.want(name, body, { always: true });
  }

  function hasRoom(name: string, body: Buffer, uid: number): boolean {
    let bytes = body.length;
    let bytesOfUser = body.length;
    let filesOfUser = 1;
    for (const [other, file] of queued) {
      if (other === name) continue;
      bytes += file.body.length;
      if (file.uid !== uid) continue;
      bytesOfUser += file.body.length;
      filesOfUser += 1;
    }
    const share = uid === ROOT ? 1 : SHARE_OF_USER;
    if (bytesOfUser > share * MAX_QUEUED_BYTES || filesOfUser > share * MAX_QUEUED_FILES) return false;
    return bytes <= MAX_QUEUED_BYTES && (queued.has(name) || queued.size < MAX_QUEUED_FILES);
  }

  /** Two users' files of one name would overwrite each other: at the site nobody could tell whose it is. */
  const isAnothers = (name: string, uid: number): boolean => uid !== ROOT && (owners.get(name) ?? uid) !== uid;

  function remember(name: string, uid: number): void {
    const owner = owners.get(name) ?? uid;
    owners.delete(name);
    owners.set(name, owner);
    const his = [...owners].filter(([, of]) => of === owner);
    const [oldest] = (his.length > MAX_NAMES_OF_USER ? his : owners.size > MAX_NAMES ? [...owners] : [])[0] ?? [];
    if (oldest !== undefined) owners.delete(oldest);
  }

  function restore(entries: readonly SpoolEntry[]): void {
    // What comes later than the end waits on disk for the next start.
    if (closing && former !== null) return;
    const find = (lane: SpoolEntry['lane'], wanted: string) =>
      entries.find((entry) => entry.lane === lane && entry.name === wanted) ?? null;
    former = { unsaid: find('own', MESSAGE_FILE), said: find('said', MESSAGE_FILE) };
    hasAnswered ||= find('said', ANSWER_FILE) !== null;
    const left = entries.filter(({ lane, name }) => lane === 'files' && !overtaken.has(name));
    for (const { name, body, uid } of left) {
      // Of an older agent's files nobody knows whose they are.
      const file = { body, uid: uid ?? ROOT, isHeld: false };
      if (hasRoom(name, body, file.uid)) {
        if (uid !== undefined) remember(name, uid);
        takeFile(name, file);
      } else spool.remove('files', name);
    }
    const names = left.map(({ name }) => name);
    if (names.length > 0)
      log.info({ event: 'report_restored', files: names }, `${names.length} files for the site are left from before`);
    // Of what has not been said, and of the answer, it is judged now with what was said before this run.
    if (word === null) word = undefined;
    shown = null;
    speak();
  }

  /** A disk that was too slow for the beginning may still have something: nobody has heard it, or ever would. */
  async function restoreLate(): Promise<void> {
    const [first, found] = await Promise.all([spool.restored, spool.found, restored]);
    if (found !== first) restore(found);
    isRead = true;
    overtaken.clear();
  }

  /** Says what is not said yet; nothing where there is nobody to say it to. */
  function speak(): void {
    if (channel === null || former === null || latest === null) return;
    const { lastWord, publication } = latest;
    const wanted = lastWord === null ? null : messageOf(lastWord);
    if (word === undefined) wakeUp(channel, former, wanted);
    if (wanted !== word) {
      if (wanted === null) takeBack(channel);
      else say(wanted);
    }
    if (publication === shown) return;
    shown = publication;
    // S5.2: a machine of which nobody ever spoke says nothing. One that did must not leave its old answer standing.
    if (publication.snapshot.canTerminate === null && !hasAnswered) return;
    if (!hasAnswered) void spool.save('said', ANSWER_FILE, Buffer.alloc(0));
    hasAnswered = true;
    own.want(ANSWER_FILE, Buffer.from(answerOf(publication)));
  }

  /** What a former run has said, or could not say any more, beside what is true now. */
  function wakeUp(at: Channel, { unsaid, said }: Former, wanted: string | null): void {
    const isSaid = unsaid === null && said?.sameBoot === true;
    word = isSaid && wanted !== null && said.body.toString() === saidTo(at, wanted) ? wanted : null;
    if (wanted !== null) return;
    // The host has taken back, in the meantime, what it was about.
    if (isSaid || unsaid?.sameBoot === true) takeBack(at);
    // How the machine's former life has ended, the site has not heard yet.
    else if (unsaid !== null) own.want(MESSAGE_FILE, unsaid.body, { urgent: true });
  }

  function say(text: string): void {
    word = text;
    const code = Number(text.slice(0, 3));
    const reason = latest?.publication.snapshot.reason ?? null;
    log.info({ event: MESSAGE_FILE, code, reason }, `tells the site: ${text}`);
    own.want(MESSAGE_FILE, Buffer.from(text), { urgent: true, always: true });
    void spool.save('own', MESSAGE_FILE, Buffer.from(text));
  }

  /** The host has cancelled. A URL knows no way back: what has arrived there stands until there is another last word. */
  function takeBack({ isDirectory }: Channel): void {
    word = null;
    spool.remove('own', MESSAGE_FILE);
    if (isDirectory) {
      own.want(MESSAGE_FILE, null, { always: true });
    } else {
      own.drop(MESSAGE_FILE);
      spool.remove('said', MESSAGE_FILE);
    }
  }

  function onOwnSettled(name: string, outcome: 'delivered' | 'refused'): void {
    if (name !== MESSAGE_FILE) return;
    spool.remove('own', MESSAGE_FILE);
    if (word == null || outcome === 'refused') spool.remove('said', MESSAGE_FILE);
    else if (channel !== null) void spool.save('said', MESSAGE_FILE, Buffer.from(saidTo(channel, word)));
  }

  /** The site destroys a machine whose heartbeat stops (mjf.md, "VM to site"). */
  function startBeating(): void {
    const file = channel === null ? null : (config?.heartbeatFile ?? null);
    if (file === null || beating !== undefined) return;
    const everyMs = config?.heartbeatMs ?? 0;
    // A site that is back must not wait for it any longer than it always does.
    const beat = (): void => own.want(file, heartbeatText(), { always: true, pauseMostMs: everyMs });
    beating = setInterval(beat, everyMs).unref();
    beat();
  }

  startBeating();
  const restored = spool.restored.then(restore);
  void restoreLate();

  return {
    name: 'joboutputs',
    pointTo(place) {
      if (isNamed || place === undefined || closing || place === pointedTo) return;
      pointedTo = place;
      const before = channel;
      channel = channelOf(options, place, true);
      own.moved();
      files.moved();
      if (before === null) for (const [name, file] of queued) takeFile(name, file);
      // At the new place nothing has been said yet.
      if (word !== undefined) word = null;
      shown = null;
      startBeating();
      speak();
    },
    async put(name, body, uid) {
      if (channel === null) return 'no_channel';
      if (isAnothers(name, uid)) return 'taken';
      if (!hasRoom(name, body, uid)) return 'full';
      if (!isRead) overtaken.add(name);
      remember(name, uid);
      await keepFile(name, body, uid);
      return 'stored';
    },
    update(news) {
      latest = news;
      speak();
    },
    owesLastWord: () =>
      channel !== null && latest?.lastWord != null && (former === null || own.pending().includes(MESSAGE_FILE)),
    pending: () => own.pending().length + queued.size,
    async close() {
      closing = true;
      clearInterval(beating);
      const begunMs = performance.now();
      await atMost(CLOSE_DISK_MS, restored);
      // A disk that does not say what it holds does not keep the last word back.
      if (former === null) restore([]);
      const leftMs = CLOSE_BOUND_MS - CLOSE_DISK_MS - (performance.now() - begunMs);
      for (const [name, file] of queued) if (file.isHeld) sendFile(name, file);
      const unsaid = await Promise.all([own.close(leftMs), files.close(leftMs)]);
      await atMost(CLOSE_DISK_MS, spool.idle());
      tellOfLeft(...unsaid);
    },
  };

  function tellOfLeft(words: readonly string[], ofPayloads: readonly string[]): void {
    const left = [
      ...words.map((name) => ({ name, isKept: spool.holds('own', name) })),
      ...ofPayloads.map((name) => ({ name, isKept: spool.holds('files', name) })),
    ];
    const kept = left.filter(({ isKept }) => isKept).map(({ name }) => name);
    const lost = left.filter(({ isKept }) => !isKept).map(({ name }) => name);
    if (kept.length > 0)
      log.info({ event: 'report_kept', files: kept }, `${kept.length} reports wait for the next start of the agent`);
    if (lost.length > 0)
      log.warn({ event: 'report_lost', files: lost }, `${lost.length} reports did not reach the site`);
  }
}

interface QueuedFile {
  readonly body: Buffer;
  readonly uid: number;
  /** Not for the site yet: it is being written to the disk. */
  isHeld: boolean;
}

/** What former runs left beside payloads' files. */
interface Former {
  readonly unsaid: SpoolEntry | null;
  readonly said: SpoolEntry | null;
}
const NOTHING_LEFT: Former = { unsaid: null, said: null };

/** Where it was said counts too: another site has not heard it. */
const saidTo = ({ to }: Channel, text: string): string => `${to}\n${text}`;

async function atMost(ms: number, work: Promise<unknown>): Promise<void> {
  const over = new AbortController();
  await Promise.race([work, pause(ms, over.signal, true)]);
  over.abort();
}
