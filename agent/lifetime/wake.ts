/** When the heart must be called again although nothing happens. */

/** `wall`: UNIX ms; `mono`: monotonic ms. null: no such moment is known. */
export interface Wake {
  wall: number | null;
  mono: number | null;
}

export const earliest = (a: number | null, b: number | null): number | null =>
  a === null ? b : b === null ? a : Math.min(a, b);
