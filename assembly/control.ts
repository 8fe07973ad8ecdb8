// The control block: where the threads meet. Byte offsets; what different threads write lies on different cache lines.

/** Runs begun so far: threads sleep on it between runs. */
export const RUNS = 0;
/** Address of the stream to walk; 0 asks the threads to end. */
export const STREAM = 4;
/** Threads that wait at the present barrier. */
export const ARRIVED = 64;
/** Barriers passed so far; changes too when a thread fails. */
export const PASSED = 128;
/** Not 0: a thread cannot go on, and the others must not wait for it. */
export const FAILED = 192;
/** Threads that have finished the present run. */
export const DONE = 256;
/** Runs finished so far: the host sleeps on it. */
export const FINISHED = 320;

export const CONTROL_BYTES = 384;

// What `run` returns.

/** All commands are done. */
export const COMPLETE = 0;
/** Another thread has failed. */
export const ABANDONED = 1;
/** A command has no kernel in this module: it was built from older sources. */
export const UNKNOWN_COMMAND = 2;
