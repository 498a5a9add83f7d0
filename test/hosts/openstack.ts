/** Not written yet. */
import type { StandIn } from './by-hand.ts';

export const standIn: StandIn = {
  help: '  not written yet\n',
  start: () => Promise.reject(new Error('not written yet')),
};
