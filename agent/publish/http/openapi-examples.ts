/** Puts each example where OpenAPI wants its parts: the same name at parameters, body and answer is the same exchange. */
import { isJson } from './openapi-components.ts';
import type { ExampleDoc, Json } from './route-doc.ts';

export function withRequest(examples: readonly ExampleDoc[], parameters: readonly Json[]): readonly Json[] {
  return parameters.map((parameter) => {
    const of = (example: ExampleDoc) => example.with?.[String(parameter['name'])];
    const found = examples.filter((example) => of(example) !== undefined);
    if (found.length === 0) return parameter;
    const named = found.map((example) => [example.name, { summary: example.summary, value: of(example) }]);
    return { ...parameter, examples: Object.fromEntries(named) };
  });
}

/** An answer without a body has no place for examples: their names stand in `x-examples`. */
export function withAnswer(
  examples: readonly ExampleDoc[],
  responses: Readonly<Record<string, Json>>,
): Readonly<Record<string, Json>> {
  return Object.fromEntries(
    Object.entries(responses).map(([status, response]) => {
      const found = examples.filter((example) => String(example.status) === status);
      return [status, found.reduce(withOne, response)];
    }),
  );
}

function withOne(response: Json, { name, summary, answer }: ExampleDoc): Json {
  if (answer === undefined) {
    const names = response['x-examples'];
    return { ...response, 'x-examples': { ...(isJson(names) ? names : {}), [name]: { summary } } };
  }
  const content = isJson(response['content']) ? response['content'] : {};
  // A problem is known by its code; any other answer has the one other type.
  const isProblem = isJson(answer) && typeof answer['code'] === 'string' && typeof answer['title'] === 'string';
  const type = Object.keys(content).find((each) => isProblem === (each === 'application/problem+json')) ?? '';
  const media = isJson(content[type]) ? content[type] : {};
  const before = isJson(media['examples']) ? media['examples'] : {};
  const examples = { ...before, [name]: { summary, value: answer } };
  return { ...response, content: { ...content, [type]: { ...media, examples } } };
}
