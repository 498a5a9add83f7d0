/**
 * The payload of the demo, as its users would write it: works in small steps, and on SIGTERM writes down how far it is. It
 * runs as a process of its own (hidden command `__demo-payload`) and knows nothing of the rest of this program.
 */
import fs from 'node:fs';

/** Long enough to be seen on the screen, well within the demo's grace. */
const CHECKPOINT_MS = 1_500;

/** Never resolves: it ends the process on SIGTERM. */
export function demoPayloadMain(env: NodeJS.ProcessEnv): Promise<never> {
  const file = env['DEMO_CHECKPOINT'] ?? '';
  const pidFile = env['DEMO_PID'] ?? '';
  fs.writeFileSync(pidFile, String(process.pid));
  let events = 0;
  const work = setInterval(() => {
    events += 17;
  }, 50);
  process.on('SIGTERM', () => {
    clearInterval(work);
    console.log(`payload: SIGTERM received after ${events} events, writing a checkpoint …`);
    setTimeout(() => {
      fs.writeFileSync(`${file}.new`, JSON.stringify({ events, at: Date.now() }));
      fs.renameSync(`${file}.new`, file);
      fs.rmSync(pidFile);
      console.log('payload: checkpoint written, going');
      process.exit(0);
    }, CHECKPOINT_MS);
  });
  console.log(`payload: working, reading its time from ${env['JOBFEATURES']}`);
  return new Promise(() => undefined);
}
