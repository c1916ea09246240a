/** Finds the small changes that can be made to a source file. */

import { parse } from "npm:@babel/parser@8.1.3";
import type * as ast from "npm:@babel/types@8.1.3";

/** One change to a source file. */
export interface Mutant {
  /** What was changed: a condition, a number and so on. */
  readonly kind: string;
  /** Where the text that is replaced starts. */
  readonly start: number;
  /** Where it ends. */
  readonly end: number;
  /** What stands there instead. */
  readonly text: string;
  /** The line it starts in, from 1 on. */
  readonly line: number;
  /** The lines that are changed, as one with single spaces. */
  readonly was: string;
  /** What becomes of them. */
  readonly became: string;
}

/** Operators, and what each is replaced by. */
const ARITHMETIC: Record<string, string> = {
  "+": "-",
  "-": "+",
  "*": "/",
  "/": "*",
  "%": "*",
  "**": "*",
  "&": "|",
  "|": "&",
  "^": "&",
  "<<": ">>",
  ">>": "<<",
  ">>>": "<<",
};
const BOUNDARY: Record<string, string> = { "<": "<=", "<=": "<", ">": ">=", ">=": ">" };
const EQUALITY = new Set(["===", "!==", "==", "!=", "in", "instanceof"]);

/** Methods, and what each is replaced by; those without leave what they are called on. */
const METHODS: Record<string, string | undefined> = {
  min: "max",
  max: "min",
  floor: "ceil",
  ceil: "floor",
  some: "every",
  every: "some",
  filter: undefined,
  reverse: undefined,
  slice: undefined,
  sort: undefined,
  subarray: undefined,
  toLowerCase: undefined,
  trim: undefined,
};

/** What of TypeScript has an effect when the program runs. */
const WITH_EFFECT = new Set([
  "TSAsExpression",
  "TSSatisfiesExpression",
  "TSNonNullExpression",
  "TSInstantiationExpression",
  "TSParameterProperty",
  "TSEnumDeclaration",
  "TSEnumBody",
  "TSEnumMember",
]);

type Child = ast.Node | null | undefined;

class Finder {
  readonly #source: string;
  readonly #found = new Map<string, Mutant>();
  /** Conditions whose outcome is dealt with where they stand in another one. */
  readonly #asked = new Set<ast.Node>();
  /** Statements that are left out where their condition is never true. */
  readonly #implied = new Set<ast.Node>();

  constructor(source: string) {
    this.#source = source;
  }

  mutants(): Mutant[] {
    this.#visit(parse(this.#source, { sourceType: "module", plugins: ["typescript"] }).program);
    return [...this.#found.values()].sort((a, b) => a.start - b.start || a.end - b.end);
  }

  #visit(node: Child): void {
    if (!node || node.type.startsWith("TS") && !WITH_EFFECT.has(node.type)) return;
    if (node.type === "ForStatement") {
      // What comes after each turn is left alone: most of its changes make loops without an end.
      for (const child of [node.init, node.test, node.body]) {
        if (child === node.test && child) this.#condition(child, false, true);
        this.#visit(child);
      }
      return;
    }
    this.#change(node);
    for (const [name, value] of Object.entries(node)) {
      if (name === "key" && !("computed" in node && node.computed)) continue;
      for (const child of Array.isArray(value) ? value : [value]) {
        if (typeof child?.type === "string" && typeof child.start === "number") this.#visit(child);
      }
    }
  }

  #change(node: ast.Node): void {
    switch (node.type) {
      case "IfStatement":
        if (!node.alternate) this.#implied.add(only(node.consequent));
        return this.#condition(node.test, true, true);
      case "ConditionalExpression":
        return this.#condition(node.test, true, true);
      case "WhileStatement":
      case "DoWhileStatement":
        return this.#condition(node.test, false, true); // true would be a loop without an end
      case "LogicalExpression":
        return this.#logical(node);
      case "BinaryExpression":
        return this.#binary(node);
      case "AssignmentExpression":
        return this.#assignment(node);
      case "UnaryExpression":
        if (node.operator === "!" && !this.#asked.has(node)) this.#condition(node, true, true);
        if (node.operator === "-" || node.operator === "~") {
          this.#add("sign", node, this.#text(node.argument));
        }
        return;
      case "UpdateExpression":
        return this.#add("arithmetic", node, this.#text(node).replace(/\+\+|--/, opposite));
      case "NumericLiteral":
        return this.#add("number", node, String(node.value + 1));
      case "BigIntLiteral":
        return this.#add("number", node, `${BigInt(node.value) + 1n}n`);
      case "BooleanLiteral":
        return this.#add("boolean", node, String(!node.value));
      case "CallExpression":
        return this.#call(node);
      case "OptionalMemberExpression":
        if (!node.optional) return;
        return this.#between(
          "optional",
          node.object,
          node.property,
          "?.",
          node.computed ? "" : ".",
        );
      default:
        return this.#statement(node);
    }
  }

  #statement(node: ast.Node): void {
    switch (node.type) {
      case "ExpressionStatement":
        if (node.expression.type === "CallExpression" && node.expression.callee.type === "Super") {
          return;
        }
        return this.#leaveOut(node);
      case "ThrowStatement":
      case "BreakStatement":
      case "ContinueStatement":
        return this.#leaveOut(node);
      case "ReturnStatement":
        if (node.argument) this.#add("result", node, "return;");
        else this.#leaveOut(node);
        return;
      case "ArrowFunctionExpression":
        if (node.body.type !== "BlockStatement") this.#add("result", node.body, "undefined");
    }
  }

  #leaveOut(statement: ast.Node): void {
    if (!this.#implied.has(statement)) this.#add("statement", statement, "{}");
  }

  /** Changes what a condition comes to: always true, if `yes`; never, if `no`. */
  #condition(node: ast.Node, yes: boolean, no: boolean): void {
    this.#asked.add(node);
    if (node.type === "LogicalExpression" && node.operator !== "??") {
      const and = node.operator === "&&";
      if (and ? no : yes) this.#add("condition", node, String(!and));
      // Each operand is left out, which makes it true or false as it matters.
      for (const [operand, other] of [[node.left, node.right], [node.right, node.left]] as const) {
        const chain = operand.type === "LogicalExpression" && operand.operator === node.operator;
        if (!chain) this.#add("operand", node, this.#operand(other));
        this.#condition(operand, false, false);
      }
      return;
    }
    if (yes && node.type !== "BooleanLiteral") this.#add("condition", node, "true");
    if (no && node.type !== "BooleanLiteral") this.#add("condition", node, "false");
    if (node.type === "UnaryExpression" && node.operator === "!") {
      this.#condition(node.argument, false, false);
    }
  }

  #logical(node: ast.LogicalExpression): void {
    if (this.#asked.has(node)) return;
    if (node.operator !== "??" && (isCondition(node.left) || isCondition(node.right))) {
      this.#condition(node, true, true);
      return;
    }
    this.#add("operand", node, this.#operand(node.left));
    this.#add("operand", node, this.#operand(node.right));
  }

  #binary(node: ast.BinaryExpression): void {
    const { left, right, operator } = node;
    if (isCondition(node) && !this.#asked.has(node)) this.#condition(node, true, true);
    const other = BOUNDARY[operator] ?? ARITHMETIC[operator];
    if (other === undefined || operator === "+" && (isText(left) || isText(right))) return;
    // Of an unsigned shift by nothing, only the missing sign can be noticed.
    const unsigned = operator === ">>>" && right.type === "NumericLiteral" && right.value === 0;
    const kind = operator in BOUNDARY ? "boundary" : "arithmetic";
    this.#between(kind, left, right, operator, unsigned ? ">>" : other);
  }

  #assignment({ left, right, operator }: ast.AssignmentExpression): void {
    const plain = operator.slice(0, -1);
    if (["??", "||", "&&"].includes(plain)) this.#between("assignment", left, right, operator, "=");
    const other = ARITHMETIC[plain];
    if (other === undefined || isText(right)) return;
    this.#between("arithmetic", left, right, operator, `${other}=`);
  }

  #call(node: ast.CallExpression): void {
    const { callee } = node;
    if (callee.type !== "MemberExpression" || callee.property.type !== "Identifier") return;
    const { name } = callee.property;
    if (!Object.hasOwn(METHODS, name)) return;
    const other = METHODS[name];
    if (other === undefined) this.#add("call", node, this.#text(callee.object));
    else this.#add("call", callee.property, other);
  }

  #between(kind: string, left: ast.Node, right: ast.Node, operator: string, other: string): void {
    const start = this.#source.indexOf(operator, left.end!);
    if (start + operator.length > right.start!) throw new Error(`no ${operator} at ${left.end}`);
    this.#add(kind, { start, end: start + operator.length }, other);
  }

  #operand(node: ast.Node): string {
    return node.extra?.["parenthesized"] ? `(${this.#text(node)})` : this.#text(node);
  }

  #text({ start, end }: ast.Node): string {
    return this.#source.slice(start!, end!);
  }

  #add(kind: string, place: { start?: number | null; end?: number | null }, text: string): void {
    const [start, end] = [place.start!, place.end!];
    const source = this.#source;
    if (source.slice(start, end) === text) return;
    const from = source.lastIndexOf("\n", start - 1) + 1;
    const to = (source.indexOf("\n", end) + 1 || source.length + 1) - 1;
    this.#found.set(`${start} ${end} ${text}`, {
      kind,
      start,
      end,
      text,
      line: source.slice(0, start).split("\n").length,
      was: oneLine(source.slice(from, to)),
      became: oneLine(source.slice(from, start) + text + source.slice(end, to)),
    });
  }
}

/** The one statement of a block that has no more. */
function only(statement: ast.Statement): ast.Statement {
  const { body } = statement as ast.BlockStatement;
  return statement.type === "BlockStatement" && body.length === 1 ? body[0]! : statement;
}

/** Whether an expression gives true or false. */
function isCondition(node: ast.Node): boolean {
  if (node.type === "UnaryExpression") return node.operator === "!";
  if (node.type === "LogicalExpression") return isCondition(node.left) && isCondition(node.right);
  return node.type === "BinaryExpression" &&
    (node.operator in BOUNDARY || EQUALITY.has(node.operator));
}

/** Whether an expression is text for certain, so that a plus joins it. */
function isText(node: ast.Node): boolean {
  return node.type === "StringLiteral" || node.type === "TemplateLiteral" ||
    node.type === "BinaryExpression" && (isText(node.left) || isText(node.right));
}

function opposite(operator: string): string {
  return operator === "++" ? "--" : "++";
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}

/**
 * The changes that can be made to a source file, one at a time.
 *
 * Text is left alone: it is a message, or a name that a comparison looks for, and the comparison is
 * changed. So are types, and changes that others imply: where a test notices that an operand is
 * gone, it would notice `||` instead of `&&`.
 *
 * @param source The file, in TypeScript.
 * @returns The changes, in the order of their places.
 */
export function mutantsOf(source: string): Mutant[] {
  return new Finder(source).mutants();
}

/**
 * Makes a change.
 *
 * @param source The file.
 * @param mutant The change.
 * @returns The file as it is then.
 */
export function apply(source: string, mutant: Mutant): string {
  return source.slice(0, mutant.start) + mutant.text + source.slice(mutant.end);
}
