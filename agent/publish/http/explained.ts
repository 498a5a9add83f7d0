/** What fastify itself finds wrong with a request, in the words of the catalogue. */

import type { FieldError } from './problem.ts';
import { isProblemCode, type ProblemCode } from './problem-catalogue.ts';

interface Explained {
  readonly code: ProblemCode;
  readonly detail: string;
  readonly errors: readonly FieldError[];
}

const KNOWN: Readonly<Record<string, ProblemCode>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'too_large',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'not_json',
  FST_ERR_CTP_INVALID_JSON_BODY: 'bad_json',
};

export function explained(error: unknown): Explained {
  if (!(error instanceof Error) || !('statusCode' in error)) return FAILED;
  const { statusCode, message } = error;
  if (typeof statusCode !== 'number' || statusCode >= 500) return FAILED;
  if ('validation' in error) {
    const place = 'validationContext' in error ? String(error.validationContext) : 'body';
    return { code: 'invalid', detail: message, errors: fieldErrors(error.validation, place) };
  }
  const code = 'code' in error ? String(error.code) : '';
  return { code: KNOWN[code] ?? (isProblemCode(code) ? code : 'bad_request'), detail: message, errors: [] };
}

const FAILED: Explained = {
  code: 'internal',
  detail: 'The agent failed on this request; its log says more.',
  errors: [],
};

/** What Ajv found; the branches of an `anyOf` say less than the whole. */
function fieldErrors(validation: unknown, place: string): readonly FieldError[] {
  const found = Array.isArray(validation) ? validation : [];
  return found.filter(isFinding).map(({ instancePath, message = 'is wrong', params }) => {
    const missing = params?.['missingProperty'] ?? params?.['additionalProperty'];
    const at = typeof missing === 'string' ? `${instancePath}/${escaped(missing)}` : instancePath;
    const detail = typeof params?.['additionalProperty'] === 'string' ? 'must not be given' : message;
    return place === 'body' ? { detail, pointer: asFragment(at) } : { detail, parameter: at.replace(/^\//, '') };
  });
}

interface Finding {
  readonly instancePath: string;
  readonly message?: string;
  readonly params?: Readonly<Record<string, unknown>>;
}

const isFinding = (one: unknown): one is Finding =>
  typeof one === 'object' && one !== null && 'instancePath' in one && typeof one.instancePath === 'string';

/** RFC 6901, 6. Half a character, which JSON may hold, would make encodeURI throw: the buffer puts U+FFFD for it. */
const asFragment = (pointer: string): string => `#${encodeURI(Buffer.from(pointer).toString()).replaceAll('#', '%23')}`;

/** RFC 6901, 3. */
const escaped = (name: string): string => name.replaceAll('~', '~0').replaceAll('/', '~1');
