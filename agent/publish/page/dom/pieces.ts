/** Pieces that several parts of the page are made of. */
import { counted, instant, isoInstant } from '../texts.ts';
import { type Child, h } from './build.ts';
import { nowMs } from './state.ts';

export const timeOf = (at: number): HTMLElement =>
  h('time', { datetime: isoInstant(at), title: isoInstant(at) }, instant(at, nowMs()));
/** Every list is bounded, and says so. */
export const more = (count: number, where: string): Child =>
  count > 0 && h('p', { class: 'note' }, `${counted(count, 'more is', 'more are')} not shown; ${where}`);
export const none = (text: string): HTMLElement => h('p', { class: 'muted' }, text);
export const bar = (value: number, label: string): HTMLElement =>
  h('span', { class: 'bar' }, h('progress', { max: 1, value, 'aria-label': label }), ` ${Math.round(value * 100)} %`);
