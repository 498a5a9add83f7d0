/**
 * The payload of the demo, as its users would write it: works in small steps, and on SIGTERM writes down how far it is.
 * Plain JavaScript in a string, since it runs as a process of its own that knows nothing of this program.
 */
export const DEMO_PAYLOAD = `
const fs = require('node:fs');
const file = process.env.DEMO_CHECKPOINT;
fs.writeFileSync(process.env.DEMO_PID, String(process.pid));
let events = 0;
const work = setInterval(() => { events += 17; }, 50);
process.on('SIGTERM', () => {
  clearInterval(work);
  console.log('payload: SIGTERM received after ' + events + ' events, writing a checkpoint …');
  setTimeout(() => {
    fs.writeFileSync(file + '.new', JSON.stringify({ events, at: Date.now() }));
    fs.renameSync(file + '.new', file);
    fs.rmSync(process.env.DEMO_PID);
    console.log('payload: checkpoint written, going');
    process.exit(0);
  }, 1500);
});
console.log('payload: working, reading its time from ' + process.env.JOBFEATURES);
`;
