/** Throw-away certificates for https stand-ins, made with `openssl` where it is installed. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

export interface Certificates {
  /** Paths of PEM files. */
  readonly ca: string;
  readonly serverCert: string;
  readonly serverKey: string;
  readonly clientCert: string;
  readonly clientKey: string;
  /** An authority that signed none of them. */
  readonly otherCa: string;
}

/** Into `dir`, valid for a day, the server's for 127.0.0.1 and localhost. A string is the reason why there are none. */
export function makeCertificates(dir: string): Certificates | string {
  const file = (name: string) => path.join(dir, name);
  const run = (...args: string[]) => execFileSync('openssl', args, { cwd: dir, stdio: 'pipe', timeout: 30_000 });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const authority = (name: string) =>
    run(
      'req',
      '-x509',
      ...newKey,
      '-days',
      '1',
      '-subj',
      `/CN=${name}`,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.pem`,
    );
  const signed = (name: string, extensions: string) => {
    run('req', '-new', ...newKey, '-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.csr`);
    fs.writeFileSync(file(`${name}.ext`), extensions);
    const by = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial'];
    run('x509', '-req', '-in', `${name}.csr`, ...by, '-days', '1', '-extfile', `${name}.ext`, '-out', `${name}.pem`);
  };
  try {
    authority('ca');
    authority('other-ca');
    signed('server', 'subjectAltName=IP:127.0.0.1,DNS:localhost\n');
    signed('client', 'extendedKeyUsage=clientAuth\n');
  } catch (error) {
    return `openssl cannot make certificates here: ${error instanceof Error ? error.message : String(error)}`;
  }
  return {
    ca: file('ca.pem'),
    serverCert: file('server.pem'),
    serverKey: file('server.key'),
    clientCert: file('client.pem'),
    clientKey: file('client.key'),
    otherCa: file('other-ca.pem'),
  };
}
