// The command stream and its barriers. Each command is its opcode, its length in words and its arguments; every thread walks
// the whole stream and takes its share of each command. What must be finished before the next command may read it is followed
// by a barrier. A kernel gets (arguments, this thread, how many threads, scratch): scratch is SCRATCH bytes of the thread's own.
import { ARRIVED, FAILED, PASSED } from "./control";
import { conv } from "./conv";
import { convWeightGrad } from "./conv-weight";
import { elementwise } from "./elementwise";
import { matmul, sumParts } from "./matmul";
import { BARRIER, CONV, CONV_WEIGHT_GRAD, ELEMENTWISE, END, MATMUL, SKIP, SUM_PARTS } from "./opcodes";

/** Looks at a barrier this often before it sleeps. */
const SPINS: u32 = 2000;

/** Waits until all threads are here. False when one has failed. */
function barrier(control: usize, threads: u32): bool {
  if (threads == 1) return true;
  const passed = atomic.load<u32>(control + PASSED);
  if (atomic.add<u32>(control + ARRIVED, 1) == threads - 1) {
    atomic.store<u32>(control + ARRIVED, 0);
    atomic.add<u32>(control + PASSED, 1);
    atomic.notify(control + PASSED, -1);
  } else {
    for (let i: u32 = 0; i < SPINS && atomic.load<u32>(control + PASSED) == passed; i++) {}
    while (atomic.load<u32>(control + PASSED) == passed) atomic.wait<i32>(control + PASSED, passed, -1);
  }
  return atomic.load<u32>(control + FAILED) == 0;
}

/** Walks a stream. False when another thread has failed. */
export function run(stream: usize, thread: u32, threads: u32, scratch: usize, control: usize): bool {
  for (let at = stream, op = load<u32>(at); op != END; at += <usize>load<u32>(at, 4) << 2, op = load<u32>(at)) {
    const args = at + 8;
    switch (op) {
      case SKIP:
        break;
      case BARRIER:
        if (!barrier(control, threads)) return false;
        break;
      case ELEMENTWISE:
        elementwise(args, thread, threads, scratch);
        break;
      case MATMUL:
        matmul(args, thread, threads, scratch);
        break;
      case SUM_PARTS:
        sumParts(args, thread, threads, scratch);
        break;
      case CONV:
        conv(args, thread, threads, scratch);
        break;
      case CONV_WEIGHT_GRAD:
        convWeightGrad(args, thread, threads, scratch);
        break;
      default:
        unreachable();
    }
  }
  return true;
}
