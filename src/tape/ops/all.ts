// Every op of the tape: importing this gives Tensor its methods.
import "./elementwise.ts";
import "./move.ts";
import "./reduce.ts";
import "./matmul.ts";
import "./conv.ts";
import "./normalize.ts";
import "./attention.ts";
import "./gather.ts";
import "./random.ts";
