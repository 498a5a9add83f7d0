/**
 * Whose is the other end of a loopback TCP connection: the reading of `/proc/net/tcp` and `tcp6` as a pure function.
 * The trap (SYSTEMS.md, "Who is calling"): once the client has closed, its row stands there in another state with uid 0 and
 * inode 0, and a naive look-up makes every user root.
 */

/** TCP_ESTABLISHED as the kernel prints it; everything else is refused. */
const ESTABLISHED = '01';
/** TCP_CLOSE_WAIT: the client has hung up, we have not yet. */
const CLOSE_WAIT = '08';
/** What the kernel prints for a user that this user namespace cannot name. */
export const OVERFLOW_UID = 65534;

export type PeerVerdict =
  | { readonly ok: true; readonly uid: number; readonly inode: string }
  | { readonly ok: false; readonly why: 'own_row' | 'client_row' | 'client_closed' | 'unmapped_user' };

interface Row {
  readonly local: string;
  readonly remote: string;
  readonly state: string;
  readonly uid: string;
  readonly inode: string;
}

/**
 * `tables` are the texts of tcp and tcp6, `ownInode` that of the server's side of the connection. The client of an IPv4
 * connection may stand in tcp6 as an IPv4-mapped address; addresses are compared without that prefix.
 */
export function findPeer(tables: readonly string[], ownInode: string): PeerVerdict {
  const { byInode, byLocal } = indexOf(tables);
  const own = byInode.get(ownInode) ?? [];
  const [mine] = own;
  if (!/^[1-9]\d*$/.test(ownInode) || mine === undefined || own.length !== 1) return { ok: false, why: 'own_row' };
  if (mine.state !== ESTABLISHED) return { ok: false, why: mine.state === CLOSE_WAIT ? 'client_closed' : 'own_row' };
  const mirrored = (byLocal.get(mine.remote) ?? []).filter((row) => row.remote === mine.local);
  const [theirs] = mirrored;
  if (theirs === undefined || mirrored.length !== 1) return { ok: false, why: 'client_row' };
  if (theirs.state !== ESTABLISHED || !/^[1-9]\d*$/.test(theirs.inode)) return { ok: false, why: 'client_closed' };
  const uid = /^\d+$/.test(theirs.uid) ? Number(theirs.uid) : OVERFLOW_UID;
  if (uid === OVERFLOW_UID) return { ok: false, why: 'unmapped_user' };
  return { ok: true, uid, inode: theirs.inode };
}

interface Index {
  readonly byInode: ReadonlyMap<string, readonly Row[]>;
  readonly byLocal: ReadonlyMap<string, readonly Row[]>;
}
/** Many callers are looked for in one reading: it is taken apart once. */
const indexes = new WeakMap<readonly string[], Index>();

function indexOf(tables: readonly string[]): Index {
  const known = indexes.get(tables);
  if (known !== undefined) return known;
  const byInode = new Map<string, Row[]>();
  const byLocal = new Map<string, Row[]>();
  for (const row of distinct(tables.flatMap((table) => table.split('\n').slice(1)).map(parseRow))) {
    add(byInode, row.inode, row);
    add(byLocal, row.local, row);
  }
  const index = { byInode, byLocal };
  indexes.set(tables, index);
  return index;
}

function add(rows: Map<string, Row[]>, key: string, row: Row): void {
  const there = rows.get(key);
  if (there === undefined) rows.set(key, [row]);
  else there.push(row);
}

/** How often the tables are read before a row that does not stand there counts as missing. */
const READINGS = 4;

/**
 * As `findPeer`, on tables that are read anew while a row is missing: the kernel gives them in pieces, and when other sockets
 * come and go meanwhile a row can fall between two pieces. What a row says is never asked a second time.
 */
export async function lookForPeer(
  readTables: () => Promise<readonly string[]>,
  ownInode: string,
): Promise<PeerVerdict> {
  let verdict = findPeer(await readTables(), ownInode);
  for (let reading = 1; reading < READINGS && isMissing(verdict); reading += 1)
    verdict = findPeer(await readTables(), ownInode);
  return verdict;
}

const isMissing = (verdict: PeerVerdict): boolean =>
  !verdict.ok && (verdict.why === 'own_row' || verdict.why === 'client_row');

/** `sl local remote st tx:rx tr:when retrnsmt uid timeout inode …` */
function parseRow(line: string): Row | undefined {
  const [, local, remote, state, , , , uid, , inode] = line.trim().split(/\s+/);
  if (!local || !remote || !state || !uid || !inode) return undefined;
  return { local: unmapped(local), remote: unmapped(remote), state, uid, inode };
}

/** `::ffff:a.b.c.d` as its IPv4 form. Words are printed in the machine's byte order, hence both spellings of the third. */
function unmapped(address: string): string {
  return address.replace(/^0{16}(?:FFFF0000|0000FFFF)/i, '');
}

/** A table that changes while it is read may show a row twice; the same row twice is one row. */
function distinct(rows: readonly (Row | undefined)[]): Row[] {
  const seen = new Map<string, Row>();
  for (const row of rows)
    if (row !== undefined) seen.set(`${row.local} ${row.remote} ${row.state} ${row.uid} ${row.inode}`, row);
  return [...seen.values()];
}
