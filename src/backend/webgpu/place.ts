// Where numbers lie on a device, and how they are stored there.

/** Where a buffer lies: in which of the program's memories, and from which byte on. */
export interface Place {
  /** The arena goes by name: it is another buffer when it has grown. Its part that holds halves has a name of its own. */
  readonly home: "arena" | "halves" | GPUBuffer;
  readonly offset: number;
}

/** How numbers are stored in a memory. */
export const typeOf = ({ home }: Place): "f32" | "f16" => (home === "halves" ? "f16" : "f32");

/** Bytes of a number there. */
export const bytesOf = (place: Place): number => (typeOf(place) === "f16" ? 2 : 4);

/** A range of bytes of one memory. */
export interface Window extends Place {
  readonly size: number;
}

/** An operand: the buffer that it lies in, and where it begins. */
export interface Operand extends Window {
  /** In bytes from the beginning of the memory. */
  readonly at: number;
}
