/** What stands at the head of the API document: what no schema can say. */

export const DESCRIPTION = `Lifetime and limits of this virtual machine, for the payloads that run in it.

**Doors.** TCP on the loopback (\`http://localhost:8653\`, IPv4 and IPv6; \`/run/mjf-agent/url\` holds the base URL), and two Unix sockets with the same routes: \`/run/mjf-agent/agent.sock\` for everyone, read-only, and \`/run/mjf-agent/admin.sock\` for the operator (\`curl --unix-socket SOCKET http://localhost/PATH\`). Further TCP addresses, if the operator adds any, are read-only.

**Who may what.** There are no passwords. \`x-access\` of each operation says who may use it. \`read\`: everyone. \`own\` and \`write\`: a user of this machine over the loopback; the kernel's socket tables tell which one, before and after the body was read. Rows of one's own; root and the operator see and change all. \`operator\`: \`admin.sock\` alone, whose permissions say who may open it. Requests that a web page of another origin makes are refused, and so is any \`Host\` but \`localhost\`, \`127.0.0.1\` and \`[::1]\` (with any port) on TCP.

**Answers.** One form each, whatever \`Accept\` says, but for \`/\`. Every GET answers HEAD too. JSON, text and problems end in a newline. A slash too many or too few at the end of a path changes nothing, but of the name of a key. Instants are UNIX seconds.

**Errors** are problem details (RFC 9457) with a stable \`code\`; \`x-problems\` has all of them, with what to do. One exception: a key that is not known is 404 with an empty text, since readers of Machine/Job Features take any body for a value.

**Stability.** Paths, fields, codes and operationIds stay; fields of answers, codes, kinds of events, operations and optional parameters may be added: ignore what you do not know. Bodies of requests are strict: an unknown field is refused.`;

export const SERVERS = [
  { url: 'http://localhost:8653', description: 'The loopback, IPv4 and IPv6; `listen` of the configuration' },
] as const;
