/** A site that takes files and is not well: by a seed it refuses, hangs, is slow or breaks off in the middle. */
import http from 'node:http';
import type { AddressInfo } from 'node:net';

/** No PUT hangs for longer: a walk of two hundred kills has no time for the agent's own bound. */
const HANG_MS = 1_500;
const SLOW_MS = 400;

export interface Taken {
  readonly name: string;
  readonly text: string;
  readonly atMs: number;
}

export interface MoodySite {
  readonly url: string;
  /** What it has, in the order in which it came to have it. */
  readonly taken: readonly Taken[];
  readonly latest: (name: string) => string | undefined;
  /** Requests, whatever became of them. */
  readonly asked: () => number;
  /** From now on everything is taken at once. */
  recover(): void;
  close(): Promise<void>;
}

export async function startMoodySite(random: () => number): Promise<MoodySite> {
  const taken: Taken[] = [];
  const latest = new Map<string, string>();
  let isWell = false;
  let asked = 0;

  const server = http.createServer((request, response) => {
    asked += 1;
    const name = decodeURIComponent((request.url ?? '').slice(1));
    const mood = isWell ? 1 : random();
    const parts: Buffer[] = [];
    if (mood < 0.08) return void setTimeout(() => request.destroy(), random() * 20);
    request.on('error', () => undefined);
    response.on('error', () => undefined);
    let isGone = false;
    // A killed sender is seen to have no more to say; whoever waits for an answer keeps his half open.
    for (const event of ['end', 'close'])
      request.socket.once(event, () => {
        isGone = true;
      });
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const take = (): void => {
        // Whoever has hung up has not handed anything over.
        if (isGone) return;
        const text = Buffer.concat(parts).toString();
        taken.push({ name, text, atMs: Date.now() });
        latest.set(name, text);
      };
      const answer = (status: number): void => void response.writeHead(status).end();
      const takeAndAnswer = (): void => {
        take();
        answer(201);
      };
      if (mood < 0.2) answer(503);
      else if (mood < 0.25) answer(403);
      // Taken, and nobody hears of it.
      else if (mood < 0.35) {
        take();
        request.socket.destroy();
      } else if (mood < 0.42) setTimeout(() => request.socket.destroy(), HANG_MS);
      else if (mood < 0.5) setTimeout(takeAndAnswer, HANG_MS * random());
      else if (mood < 0.7) setTimeout(takeAndAnswer, SLOW_MS * random());
      else takeAndAnswer();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    taken,
    latest: (name) => latest.get(name),
    asked: () => asked,
    recover: () => {
      isWell = true;
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
