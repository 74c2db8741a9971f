// Query: the language of the search box, by a parser of its own; nothing is ever evaluated as a program.
//
//     any   := all ("or" all)*
//     all   := not ("and" not)*
//     not   := "not" not | "(" any ")" | test
//     test  := field (("==" | "!=" | "<" | "<=" | ">" | ">=" | "~") value)?
//
// What has none of these signs is looked for as plain text.

export type Value = string | number | boolean | null;
export type Fields = (field: string) => Value | undefined;
export type Test = (fields: Fields) => boolean;

export const FIELDS = [
  "name", "op", "type", "dtype", "rank", "flops", "bytes", "time", "scope", "file", "line", "source",
  "status", "backward", "kernel", "id", "operands", "users",
];

type Token = { kind: "word" | "number" | "text" | "sign" | "end"; text: string; at: number };

export class QueryError extends Error {}

/** The test that `text` spells; null where it is empty. Raises QueryError. */
export function parseQuery(text: string): Test | null {
  const plain = text.trim();
  if (!plain) return null;
  if (!/[=<>~!()]|\b(and|or|not)\b/.test(plain) || !FIELDS.some((field) => new RegExp(`\\b${field}\\b`).test(plain))) {
    const words = plain.toLowerCase().replace(/^"(.*)"$/, "$1");
    return (fields) =>
      ["name", "op", "type", "scope", "source", "id"].some((f) => String(fields(f) ?? "").toLowerCase().includes(words));
  }
  return new Parser(tokens(plain)).whole();
}

function tokens(text: string): Token[] {
  const result: Token[] = [];
  const pattern = /\s*(?:(\d+(?:\.\d*)?(?:e[+-]?\d+)?)|("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(==|!=|<=|>=|[<>~()=!])|([\w./$-]+))/iy;
  let at = 0;
  while (at < text.trimEnd().length) {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (!found) throw new QueryError(`"${text[at]}" is not understood (at ${at + 1})`);
    const [, number, quoted, sign, word] = found;
    const kind = number ? "number" : quoted ? "text" : sign ? "sign" : "word";
    const spelled = quoted ? quoted.slice(1, -1).replace(/\\(.)/g, "$1") : (number ?? sign ?? word);
    result.push({ kind, text: spelled, at });
    at = pattern.lastIndex;
  }
  result.push({ kind: "end", text: "the end", at: text.length });
  return result;
}

class Parser {
  private next = 0;

  constructor(private list: Token[]) {}

  whole(): Test {
    const test = this.any();
    if (this.peek.kind !== "end") this.fail("the end");
    return test;
  }

  private get peek(): Token {
    return this.list[this.next];
  }

  private fail(wanted: string): never {
    throw new QueryError(`expected ${wanted}, not ${this.peek.text} (at ${this.peek.at + 1})`);
  }

  private takes(text: string): boolean {
    if (this.peek.kind === "text" || this.peek.text !== text) return false;
    this.next++;
    return true;
  }

  private any(): Test {
    const parts = [this.all()];
    while (this.takes("or")) parts.push(this.all());
    return parts.length === 1 ? parts[0] : (fields) => parts.some((part) => part(fields));
  }

  private all(): Test {
    const parts = [this.not()];
    while (this.takes("and")) parts.push(this.not());
    return parts.length === 1 ? parts[0] : (fields) => parts.every((part) => part(fields));
  }

  private not(): Test {
    if (this.takes("not") || this.takes("!")) {
      const inner = this.not();
      return (fields) => !inner(fields);
    }
    if (this.takes("(")) {
      const inner = this.any();
      if (!this.takes(")")) this.fail("a closing parenthesis");
      return inner;
    }
    return this.test();
  }

  private test(): Test {
    const field = this.peek;
    if (field.kind !== "word") this.fail("a field");
    if (!FIELDS.includes(field.text)) throw new QueryError(`there is no field ${field.text}; there are ${FIELDS.join(", ")}`);
    this.next++;
    const sign = this.peek.kind === "sign" ? this.peek.text : "";
    if (!sign || sign === ")") return (fields) => Boolean(fields(field.text));
    if (!["==", "=", "!=", "<", "<=", ">", ">=", "~"].includes(sign)) this.fail("a comparison");
    this.next++;
    const value = this.peek;
    if (value.kind === "end" || value.kind === "sign") this.fail("a value");
    this.next++;
    return comparison(field.text, sign, valueOf(value));
  }
}

function valueOf({ kind, text }: Token): Value {
  if (kind === "number") return Number(text);
  if (kind === "word" && (text === "true" || text === "false")) return text === "true";
  if (kind === "word" && (text === "null" || text === "none")) return null;
  return text;
}

function comparison(field: string, sign: string, wanted: Value): Test {
  return (fields) => {
    const found = fields(field) ?? null;
    if (sign === "==" || sign === "=") return found === wanted || (found !== null && String(found) === String(wanted));
    if (sign === "!=") return found !== wanted && String(found) !== String(wanted);
    if (sign === "~") return String(found ?? "").toLowerCase().includes(String(wanted).toLowerCase());
    if (found === null || wanted === null) return false;
    const [a, b] = typeof wanted === "number" ? [Number(found), wanted] : [String(found), String(wanted)];
    if (sign === "<") return a < b;
    if (sign === "<=") return a <= b;
    return sign === ">" ? a > b : a >= b;
  };
}
