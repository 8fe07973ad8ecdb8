// Numbers of the commands in a stream and of the instructions in a fused elementwise program. Both sides import this file.

// The stream itself.
export const END = 0;
export const BARRIER = 1;
export const SKIP = 2; // words that other commands refer to
export const MARK = 3; // a barrier that keeps the time

// Elementwise, moving, indexing, drawing.
export const ELEMENTWISE = 4;
export const COPY = 5;
export const TRANSPOSE = 6;
export const UPDATE_SLICE = 7;
export const GATHER = 8;
export const SCATTER_ADD = 9;
export const UNIFORM = 10;
export const TO_HALF = 11;
export const FROM_HALF = 12;

// Reductions and rows.
export const REDUCE_ROWS = 16;
export const REDUCE_COLUMNS = 17;
export const ARGMAX = 18;
export const ARGSORT = 19;
export const SOFTMAX = 20;
export const SOFTMAX_GRAD = 21;

// Normalisation and pooling.
export const BATCH_NORM_PARTS = 32;
export const BATCH_NORM_STATISTICS = 33;
export const BATCH_NORM_APPLY = 34;
export const BATCH_NORM_GRAD_PARTS = 35;
export const BATCH_NORM_GRAD_APPLY = 36;
export const LAYER_NORM = 37;
export const LAYER_NORM_GRAD = 38;
export const MAX_POOL = 39;
export const MAX_POOL_GRAD = 40;
export const AVG_POOL = 41;
export const AVG_POOL_GRAD = 42;

// Products.
export const MATMUL = 64;
export const SUM_PARTS = 65;
export const CONV = 66;
export const CONV_WEIGHT_GRAD = 67;
export const DEPTHWISE = 68;
export const DEPTHWISE_WEIGHT_GRAD = 69;
export const WINOGRAD_WEIGHT = 70;
export const WINOGRAD = 71;
export const WINOGRAD_GRAD = 72;
export const WINOGRAD_GRAD_WEIGHT = 73;
export const ATTENTION = 74;
export const ATTENTION_GRAD = 75;

// Instructions of elementwise programs.
export const NEG = 0;
export const EXP = 1;
export const LOG = 2;
export const SQRT = 3;
export const RSQRT = 4;
export const SQUARE = 5;
export const ABS = 6;
export const FLOOR = 7;
export const TANH = 8;
export const SIGMOID = 9;
export const RELU = 10;
export const GELU = 11;
export const GELU_DERIVATIVE = 12;
export const ADD = 13;
export const SUB = 14;
export const MUL = 15;
export const DIV = 16;
export const MAXIMUM = 17;
export const MINIMUM = 18;
export const GREATER = 19;
export const GREATER_EQUAL = 20;
export const EQUAL = 21;
export const WHERE = 22;
