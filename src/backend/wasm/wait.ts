// How the host waits for its threads without blocking.

/**
 * Resolves once word `index` is no longer `value`. A wake-up alone says nothing: who changes a word and then notifies may be held up in
 * between, see its change answered by the next wait's beginning, and wake that one.
 */
export async function untilChanged(words: Int32Array<SharedArrayBuffer>, index: number, value: number): Promise<void> {
  while (Atomics.load(words, index) === value) await Atomics.waitAsync(words, index, value).value;
}
