// The dictionary of MoCo: the newest keys in a ring. He et al. 2020, arXiv 1911.05722, section 3.2.
import { normal, parameter } from "../nn/init.ts";
import { Buffer } from "../nn/module.ts";
import type { Shape } from "../tape/shape.ts";
import type { Parameter, Tensor } from "../tape/tensor.ts";
import { assign } from "../tape/trace.ts";

/** Random unit vectors in the columns. shape [..., d, m] */
export function randomQueue(shape: Shape): Buffer {
  const { data } = parameter(shape, normal(1));
  const [d, m] = shape.slice(-2);
  for (let start = 0; start < data.length; start += d * m) {
    for (let column = 0; column < m; column++) {
      let square = 0;
      for (let i = 0; i < d; i++) square += data[start + i * m + column] ** 2;
      for (let i = 0; i < d; i++) data[start + i * m + column] /= Math.sqrt(square);
    }
  }
  return new Buffer(shape, data);
}

/** Writes keys [..., n, d] over the oldest columns of a queue [..., d, m] and moves the pointer [1] behind them. */
export function enqueue(queue: Parameter, pointer: Parameter, keys: Tensor): void {
  const [length, n] = [queue.shape[queue.rank - 1], keys.shape[keys.rank - 2]];
  if (length % n)
    throw new RangeError(
      `Cannot keep batches of ${n} in a queue of ${length}: expected a queue of a multiple, such as ${n * Math.max(1, Math.round(length / n))}`,
    );
  const next = pointer.add(n);
  const start = pointer.reshape([]);
  assign(queue, queue.updateSlice(keys.t(), start, queue.rank - 1));
  assign(pointer, next.less(length).where(next, 0));
}
