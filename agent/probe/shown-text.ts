/** Texts with addresses in them, as they may stand on a screen or in a bug report. */

const URLS = /\bhttps?:\/\/[^\s"'<>]+/gi;

/** Every URL without user, password, query and fragment: each of them may be a secret. */
export const withoutSecrets = (text: string): string =>
  text.replace(URLS, (url) => url.replace(/^(https?:\/\/)[^/?#]*@/i, '$1').replace(/[?#].*$/, ''));
