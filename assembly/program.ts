// The command stream and its barriers. Word 0 is the address of the tile counters; each command is its opcode, its length in words and its arguments; every thread walks
// the whole stream and takes its share of each command. What must be finished before the next command may read it is followed
// by a barrier. A kernel gets (arguments, this thread, how many threads, scratch): scratch is SCRATCH bytes of the thread's own.
import { attention } from "./attention";
import { attentionGrad } from "./attention-gradient";
import { ABANDONED, ARRIVED, COMPLETE, FAILED, PASSED, UNKNOWN_COMMAND } from "./control";
import { conv } from "./conv";
import { convWeightGrad } from "./conv-weight";
import { depthwise, depthwiseWeightGrad } from "./depthwise";
import { elementwise } from "./elementwise";
import { gather, scatterAdd } from "./gather";
import { fromHalf, toHalf } from "./half";
import { matmul, sumParts } from "./matmul";
import { copy, transpose, updateSlice } from "./move";
import { batchNormApply, batchNormGradApply, batchNormGradParts, batchNormParts, batchNormStatistics, layerNorm, layerNormGrad } from "./normalize";
import { avgPool, avgPoolGrad, maxPool, maxPoolGrad } from "./pool";
import { uniform } from "./random";
import { argmax, argsort, reduceColumns, reduceRows, softmax, softmaxGrad } from "./reduce";
import * as opcode from "./opcodes";
import { beginTurns, nextCommand } from "./turns";
import { winograd, winogradWeight } from "./winograd";
import { winogradGrad, winogradGradWeight } from "./winograd-gradient";

/** Milliseconds since some moment, the same for all threads. */
// @ts-ignore: decorator
@external("env", "now")
declare function now(): f64;

/** Looks at a barrier this often before it sleeps: some 0.03 ms, about what it costs to sleep and be woken. */
const SPINS: u32 = 100000;

/** Waits until all threads are here; the last one keeps the time at `mark` if that is not 0. False when one has failed. */
function barrier(control: usize, threads: u32, mark: usize): bool {
  const passed = atomic.load<u32>(control + PASSED);
  if (threads == 1 || atomic.add<u32>(control + ARRIVED, 1) == threads - 1) {
    if (mark) store<f64>(mark, now());
    if (threads == 1) return true;
    atomic.store<u32>(control + ARRIVED, 0);
    atomic.add<u32>(control + PASSED, 1);
    atomic.notify(control + PASSED, -1);
  } else {
    for (let i: u32 = 0; i < SPINS && atomic.load<u32>(control + PASSED) == passed; i++) {}
    while (atomic.load<u32>(control + PASSED) == passed) atomic.wait<i32>(control + PASSED, passed, -1);
  }
  return atomic.load<u32>(control + FAILED) == 0;
}

/** Walks a stream. COMPLETE, ABANDONED or UNKNOWN_COMMAND. */
export function run(stream: usize, thread: u32, threads: u32, scratch: usize, control: usize): u32 {
  beginTurns(load<u32>(stream));
  for (let at = stream + 4, op = load<u32>(at); op != opcode.END; at += <usize>load<u32>(at, 4) << 2, op = load<u32>(at)) {
    const args = at + 8;
    nextCommand();
    switch (op) {
      case opcode.SKIP: break;
      case opcode.BARRIER:
        if (!barrier(control, threads, 0)) return ABANDONED;
        break;
      case opcode.MARK:
        if (!barrier(control, threads, load<u32>(args))) return ABANDONED;
        break;
      case opcode.ELEMENTWISE: elementwise(args, thread, threads, scratch); break;
      case opcode.COPY: copy(args, thread, threads, scratch); break;
      case opcode.TRANSPOSE: transpose(args, thread, threads, scratch); break;
      case opcode.UPDATE_SLICE: updateSlice(args, thread, threads, scratch); break;
      case opcode.GATHER: gather(args, thread, threads, scratch); break;
      case opcode.SCATTER_ADD: scatterAdd(args, thread, threads, scratch); break;
      case opcode.UNIFORM: uniform(args, thread, threads, scratch); break;
      case opcode.TO_HALF: toHalf(args, thread, threads, scratch); break;
      case opcode.FROM_HALF: fromHalf(args, thread, threads, scratch); break;
      case opcode.REDUCE_ROWS: reduceRows(args, thread, threads, scratch); break;
      case opcode.REDUCE_COLUMNS: reduceColumns(args, thread, threads, scratch); break;
      case opcode.ARGMAX: argmax(args, thread, threads, scratch); break;
      case opcode.ARGSORT: argsort(args, thread, threads, scratch); break;
      case opcode.SOFTMAX: softmax(args, thread, threads, scratch); break;
      case opcode.SOFTMAX_GRAD: softmaxGrad(args, thread, threads, scratch); break;
      case opcode.BATCH_NORM_PARTS: batchNormParts(args, thread, threads, scratch); break;
      case opcode.BATCH_NORM_STATISTICS: batchNormStatistics(args, thread, threads, scratch); break;
      case opcode.BATCH_NORM_APPLY: batchNormApply(args, thread, threads, scratch); break;
      case opcode.BATCH_NORM_GRAD_PARTS: batchNormGradParts(args, thread, threads, scratch); break;
      case opcode.BATCH_NORM_GRAD_APPLY: batchNormGradApply(args, thread, threads, scratch); break;
      case opcode.LAYER_NORM: layerNorm(args, thread, threads, scratch); break;
      case opcode.LAYER_NORM_GRAD: layerNormGrad(args, thread, threads, scratch); break;
      case opcode.MAX_POOL: maxPool(args, thread, threads, scratch); break;
      case opcode.MAX_POOL_GRAD: maxPoolGrad(args, thread, threads, scratch); break;
      case opcode.AVG_POOL: avgPool(args, thread, threads, scratch); break;
      case opcode.AVG_POOL_GRAD: avgPoolGrad(args, thread, threads, scratch); break;
      case opcode.MATMUL: matmul(args, thread, threads, scratch); break;
      case opcode.SUM_PARTS: sumParts(args, thread, threads, scratch); break;
      case opcode.CONV: conv(args, thread, threads, scratch); break;
      case opcode.CONV_WEIGHT_GRAD: convWeightGrad(args, thread, threads, scratch); break;
      case opcode.DEPTHWISE: depthwise(args, thread, threads, scratch); break;
      case opcode.DEPTHWISE_WEIGHT_GRAD: depthwiseWeightGrad(args, thread, threads, scratch); break;
      case opcode.WINOGRAD_WEIGHT: winogradWeight(args, thread, threads, scratch); break;
      case opcode.WINOGRAD: winograd(args, thread, threads, scratch); break;
      case opcode.WINOGRAD_GRAD: winogradGrad(args, thread, threads, scratch); break;
      case opcode.WINOGRAD_GRAD_WEIGHT: winogradGradWeight(args, thread, threads, scratch); break;
      case opcode.ATTENTION: attention(args, thread, threads, scratch); break;
      case opcode.ATTENTION_GRAD: attentionGrad(args, thread, threads, scratch); break;
      default:
        return UNKNOWN_COMMAND;
    }
  }
  return COMPLETE;
}
