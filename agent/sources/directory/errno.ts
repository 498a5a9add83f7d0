/** Errors of the system as the stable short codes that are shown for a key or a source. */

/** `permission` for EACCES and EPERM, `link_loop` for ELOOP, else errno in lower case (`estale`); `internal` for what is no system error. */
export function errnoCode(error: unknown): string {
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  if (code === undefined) return 'internal';
  if (code === 'EACCES' || code === 'EPERM') return 'permission';
  if (code === 'ELOOP') return 'link_loop';
  return code.toLowerCase();
}

/** The message of whatever was thrown. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
