/** A block for the shell, taken apart into what a reader would paste piece by piece; and what its comments promise of each. */
import { spawnSync } from 'node:child_process';
import type { Block } from './documents.ts';

export interface Chunk {
  readonly text: string;
  /** Number of its first line within the document. */
  readonly line: number;
  /** Goes on until it is interrupted: run until it has said something. */
  readonly endless: boolean;
  /** Starts the daemon, which must be the only one in its place. */
  readonly daemon: boolean;
  /** `# exit code 75`: besides 0, since it may depend on the hour. */
  readonly code: number;
  /** `# 404: …`: what HTTP may answer besides success. */
  readonly status: number | undefined;
}

const ENDLESS =
  /^(?:sudo )?(?:mjf-agent watch\b|curl\b.*\s(?:-\w*N\w*|--no-buffer)\s|journalctl\b.*\s(?:-\w*f\w*|--follow)\b|tail -[fF]\b|npm run (?:--silent )?host\b(?!.*&\s*$))/;
const DAEMON = /^(?:sudo )?(?:\w+=\S+ )*(?:mjf-agent|node dist\/mjf-agent\.cjs) run\b(?!.*--help)/;

/** `shell` judges where a command ends: a loop, a function or a here-document takes several lines. */
export function chunksOf(block: Block, shell: string): readonly Chunk[] {
  const chunks: Chunk[] = [];
  let from = 0;
  for (let to = 1; to <= block.lines.length; to += 1) {
    const text = block.lines.slice(from, to).join('\n');
    if (to < block.lines.length && !isWhole(text, shell)) continue;
    if (/^\s*[^#\s]/m.test(text)) chunks.push(chunkOf(text, block.line + from));
    from = to;
  }
  return chunks;
}

function isWhole(text: string, shell: string): boolean {
  if (text.endsWith('\\')) return false;
  const { status, stderr } = spawnSync(shell, ['-n'], { input: `${text}\n`, encoding: 'utf8' });
  // bash takes a here-document that never ends for whole, and only warns; dash says nothing at all.
  return status === 0 && !/here-document/.test(stderr) && hereDocumentsEnd(text);
}

function hereDocumentsEnd(text: string): boolean {
  return [...text.matchAll(/<<-?\s*(["']?)(\w+)\1/g)].every(([, , word = '']) =>
    text
      .split('\n')
      .slice(1)
      .some((line) => line.trim() === word),
  );
}

function chunkOf(text: string, line: number): Chunk {
  const comment = [...text.matchAll(/(?:^|\s)#(.*)$/gm)].map(([, said]) => said).join(' ');
  const code = /\bexit(?:s with| code|s)? (\d{1,3})\b/.exec(comment)?.[1];
  const status = /\b([45]\d\d)\b/.exec(comment)?.[1];
  return {
    text,
    line,
    endless: ENDLESS.test(text) && !/\|/.test(text.replace(/#.*$/gm, '')),
    daemon: DAEMON.test(text),
    code: code === undefined ? 0 : Number(code),
    status: status === undefined ? undefined : Number(status),
  };
}
