/** Bodies of last words: of a payload and of the machine. */

/** One line of a file that sites show in tables: a sentence, no report. */
const MAX_TEXT_CHARS = 200;
const code = {
  type: 'integer',
  minimum: 100,
  maximum: 999,
  description:
    '100 stopped by the host, 200 work done, 300 no work, 400 disabled, 500 the site, 600 the application, 700 passing trouble; from 300 on sites back off',
} as const;
const text = {
  type: 'string',
  maxLength: MAX_TEXT_CHARS,
  // Neither what moves a cursor or breaks a line, nor what turns its order round, nor half a character.
  pattern: '^[^\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}\\p{Cs}]*$',
  description: 'One printable line, best in ASCII',
} as const;
export const finalWordOfPayloadSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['code'],
  properties: {
    code,
    text,
    by: {
      type: 'string',
      enum: ['payload', 'exit'],
      description: 'exit: read from its exit code, and nothing beside what it has said itself; default payload',
    },
  },
} as const;
export const finalWordOfMachineSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['code'],
  properties: { code, text },
} as const;
