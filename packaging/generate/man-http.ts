/** mjf-agent-http(7), from the API document. */

import { DESCRIPTION } from '../../agent/publish/http/openapi-words.ts';
import type { Json } from '../../agent/publish/http/route-doc.ts';
import { boundRows, operationRows, problemRows, tagRows } from './http-rows.ts';
import { escaped, item, literal, page, prose, section } from './roff.ts';

export function manHttp(document: Json, date: string): string {
  const rows = operationRows(document);
  return page('MJF\\-AGENT\\-HTTP', 7, date, [
    ...section('NAME', ['mjf\\-agent\\-http \\- HTTP interface of mjf\\-agent']),
    ...section('SYNOPSIS', ['.B curl', '.I http://localhost:8653/PATH']),
    ...section(
      'DESCRIPTION',
      DESCRIPTION.split('\n\n').flatMap((paragraph, index) => [
        ...(index === 0 ? [] : ['.PP']),
        ...prose(plain(paragraph)),
      ]),
    ),
    ...section(
      'REQUESTS',
      tagRows(document).flatMap(([tag, description]) => [
        `.SS ${escaped(tag)}`,
        ...prose(plain(description)),
        ...rows
          .filter((row) => row.tag === tag)
          .flatMap(({ method, path, access, summary }) =>
            item(`${method} ${path}`, prose(`${plain(summary)}. [${access}]`)),
          ),
      ]),
    ),
    ...section(
      'BOUNDS',
      boundRows().flatMap(([what, bound, beyond]) =>
        item(plain(what), prose(plain(beyond === '' ? `${bound}.` : `${bound}; beyond it: ${beyond}.`))),
      ),
    ),
    ...section(
      'ERRORS',
      problemRows().flatMap(({ status, code, title, advice }) =>
        item(`${status} ${code}`, prose(plain(`${title}. ${advice}`))),
      ),
    ),
    ...section('FILES', [
      ...item('/run/mjf-agent/url', prose('Base URL of the interface.')),
      ...item('/run/mjf-agent/agent.sock, /run/mjf-agent/admin.sock', prose('The two Unix sockets.')),
      ...item(
        '/usr/share/doc/mjf-agent/openapi.json',
        prose('The OpenAPI document; the daemon serves it as /openapi.json.'),
      ),
      ...item('/usr/share/doc/mjf-agent/http.md', prose('The same for reading, with examples.')),
    ]),
    ...section('EXAMPLES', [
      ...literal([
        'curl localhost:8653/machinefeatures/shutdowntime',
        'curl localhost:8653/v1/lifetime',
        'curl -N localhost:8653/v1/events',
        'curl --unix-socket /run/mjf-agent/agent.sock http://localhost/v1/lifetime',
      ]),
    ]),
    ...section('SEE ALSO', ['.BR mjf\\-agent (1),', '.BR mjf\\-agent.toml (5),', '.BR curl (1)']),
  ]);
}

/** Markdown without its marks. */
const plain = (text: string): string =>
  text
    .replace(/\*\*|`/g, '')
    .replaceAll('’', "'")
    .replaceAll('…', '...');
