// Options of a method: each with its published default, the values that it may take, and one sentence for people.

interface Described<T> {
  readonly default: T;
  readonly help: string;
}

/** A number in [min, max]; `above` and `below` bound it without being allowed themselves. */
export interface NumberOption extends Described<number> {
  readonly type: "number";
  readonly whole?: boolean;
  readonly min?: number;
  readonly max?: number;
  readonly above?: number;
  readonly below?: number;
}

export interface FlagOption extends Described<boolean> {
  readonly type: "flag";
}

export interface ChoiceOption<T extends string = string> extends Described<T> {
  readonly type: "choice";
  readonly choices: readonly T[];
}

/** Two numbers in (0, 1], the lower first: the share of an image that a crop covers. Written "0.2,1". */
export interface ScaleOption extends Described<readonly [number, number]> {
  readonly type: "scale";
}

export type Option = NumberOption | FlagOption | ChoiceOption | ScaleOption;
export type OptionTable = Readonly<Record<string, Option>>;

/** A value that an option may have. */
export type OptionValue = number | boolean | string | readonly number[];

/** The values of a table of options. */
export type OptionValues<T extends OptionTable> = string extends keyof T
  ? Readonly<Record<string, OptionValue>>
  : { readonly [K in keyof T]: T[K] extends Described<infer V> ? V : never };

type Bounds = Pick<NumberOption, "min" | "max" | "above" | "below">;

export const number = (value: number, help: string, bounds: Bounds = {}): NumberOption => ({
  type: "number",
  default: value,
  help,
  ...bounds,
});
export const whole = (value: number, help: string, bounds: Bounds = { min: 1 }): NumberOption => ({
  type: "number",
  whole: true,
  default: value,
  help,
  ...bounds,
});
export const flag = (value: boolean, help: string): FlagOption => ({ type: "flag", default: value, help });
export const choice = <const T extends string>(value: NoInfer<T>, choices: readonly T[], help: string): ChoiceOption<T> => ({
  type: "choice",
  default: value,
  choices,
  help,
});
export const scale = (value: readonly [number, number], help: string): ScaleOption => ({ type: "scale", default: value, help });

/** What an option may be, as in "a number above 0". */
export function expected(option: Option): string {
  switch (option.type) {
    case "number": {
      const { min, max, above, below } = option;
      const low = above !== undefined ? `above ${above}` : min !== undefined ? `of ${min} or more` : "";
      const high = below !== undefined ? `below ${below}` : max !== undefined ? `of at most ${max}` : "";
      return [option.whole ? "a whole number" : "a number", [low, high].filter(Boolean).join(" and ")].join(" ").trim();
    }
    case "flag":
      return "true or false";
    case "choice":
      return option.choices.join(" or ");
    case "scale":
      return "two numbers above 0 and of at most 1, the lower first, such as 0.2,1";
  }
}

function allowed(option: Option, value: unknown): boolean {
  switch (option.type) {
    case "number": {
      const { whole: integer, min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY } = option;
      const { above = Number.NEGATIVE_INFINITY, below = Number.POSITIVE_INFINITY } = option;
      if (typeof value !== "number" || !Number.isFinite(value) || (integer && !Number.isInteger(value))) return false;
      return value >= min && value <= max && value > above && value < below;
    }
    case "flag":
      return typeof value === "boolean";
    case "choice":
      return option.choices.includes(value as string);
    case "scale": {
      if (!Array.isArray(value) || value.length !== 2 || !value.every((x) => typeof x === "number")) return false;
      return value[0] > 0 && value[0] <= value[1] && value[1] <= 1;
    }
  }
}

/** The value that a text stands for, as in `--set key=value`; the text itself where it stands for none. */
function read(option: Option, text: string): unknown {
  switch (option.type) {
    case "number":
      return text.trim() === "" ? text : Number(text);
    case "flag":
      return text === "true" ? true : text === "false" ? false : text;
    case "choice":
      return text;
    case "scale":
      return text.split(",").map((part) => (part.trim() === "" ? Number.NaN : Number(part)));
  }
}

/**
 * All values of a table: the defaults, replaced by `changes`. Text stands for the value that it spells, so that
 * `--set temperature=0.2` can be passed on as it is. Throws a RangeError for an unknown name or a value out of range.
 */
export function resolveOptions<T extends OptionTable>(table: T, changes: Readonly<Record<string, unknown>> = {}): OptionValues<T> {
  const values: Record<string, unknown> = Object.fromEntries(Object.entries(table).map(([name, option]) => [name, option.default]));
  for (const [name, given] of Object.entries(changes)) {
    if (!Object.hasOwn(table, name)) throw new RangeError(`Unknown option "${name}": expected one of ${Object.keys(table).join(", ")}`);
    const option = table[name];
    const value = typeof given === "string" ? read(option, given) : given;
    if (!allowed(option, value)) throw new RangeError(`Cannot set ${name} to ${String(given)}: expected ${expected(option)}`);
    values[name] = value;
  }
  return values as OptionValues<T>;
}
