// Where in the model and in the step a node is traced. Profiles show it, and lowering tells the backward pass by it.

export interface Scope {
  /** The innermost module at work, by the name of its parameters: "encoder.layer1.0.conv1"; empty outside of all modules. */
  readonly module: string;
  readonly pass: "forward" | "backward" | "update";
  /** The number of the part of the forward pass that is computed again in the backward pass, if this is in one. */
  readonly part?: number;
  /** Where values are never stored in half precision. */
  readonly single?: boolean;
}

let current: Scope = { module: "", pass: "forward" };

/** The scope of what is traced now. */
export const scope = (): Scope => current;

/** Traces `f` in another scope; what is not given is taken from the surrounding one. */
export function withScope<T>(change: Partial<Scope>, f: () => T): T {
  const outer = current;
  current = { ...outer, ...change };
  try {
    return f();
  } finally {
    current = outer;
  }
}
