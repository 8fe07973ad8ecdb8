// Who computes which tile. Tiles are numbered alike for any number of threads, and a thread takes the next one when it is done
// with the last: whoever is held up by other work takes fewer, and nobody waits long at the next barrier.

/** Address of the present command's counter; every thread has an instance, and so a variable, of its own. */
let counter: usize = 0;

/** Points before the counters of a stream: one word a command, all zero when a run begins. */
export function beginTurns(counters: usize): void {
  counter = counters - 4;
}

/** Goes on to the next command's counter. */
// @ts-ignore: decorator
@inline
export function nextCommand(): void {
  counter += 4;
}

/** The number of a tile that nobody has taken yet. Numbers at or beyond the command's last tile mean that all are taken. */
// @ts-ignore: decorator
@inline
export function takeTile(): u32 {
  return atomic.add<u32>(counter, 1);
}
