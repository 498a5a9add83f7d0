/** Through which door a connection came. Set once at `connection`, so that no header can change it. */
import type { Socket } from 'node:net';

export type Channel =
  /** `loopback` only when the listener itself is bound to a loopback address: others never write (SYSTEMS.md, "Who is calling"). */
  | { readonly kind: 'tcp'; readonly loopback: boolean }
  /** agent.sock: anyone, read-only. */
  | { readonly kind: 'reader' }
  /** admin.sock: whoever may open it is the operator. */
  | { readonly kind: 'operator' };

const channels = new WeakMap<Socket, Channel>();

export function setChannel(socket: Socket, channel: Channel): void {
  channels.set(socket, channel);
}

/** A connection that no listener marked may do the least. */
export function channelOf(socket: Socket): Channel {
  return channels.get(socket) ?? { kind: 'tcp', loopback: false };
}

export function isLoopback(address: string): boolean {
  return address === '::1' || /^127\.\d+\.\d+\.\d+$/.test(address);
}
