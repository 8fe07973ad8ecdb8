import type { Parameter, Tensor } from "../tape/tensor.ts";
import { assign } from "../tape/trace.ts";
import { Buffer, type Module } from "./module.ts";

/** Weights of both sides in pairs; buffers are left out. */
function pairs(target: Module, online: Module): [Parameter, Parameter][] {
  const weights = (module: Module) => [...module.namedParameters()].filter(([, p]) => !(p instanceof Buffer));
  const [to, from] = [weights(target), weights(online)];
  const byName = new Map(from);
  return to.map(([name, parameter]) => {
    const source = byName.get(name);
    if (!source) throw new TypeError(`Cannot follow "${name}": the online network has no parameter of that name`);
    return [parameter, source];
  });
}

/**
 * Moves a momentum encoder: target <- momentum target + (1 - momentum) online, for every weight of the target, trained or
 * frozen; buffers are not averaged. He et al. 2020 (MoCo), eq. 2. `momentum` is a scalar tensor or a number.
 */
export function ema(target: Module, online: Module, momentum: Tensor | number): void {
  for (const [to, from] of pairs(target, online)) {
    const rest = typeof momentum === "number" ? 1 - momentum : momentum.rsub(1);
    assign(to, to.mul(momentum).add(from.mul(rest)));
  }
}
