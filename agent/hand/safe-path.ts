/** Where programs are searched that run as root or as a configured user: never in directories that an environment names. */
export const SAFE_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
