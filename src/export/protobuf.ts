// Protobuf's wire format, as much of it as ONNX needs to be written: a key is field << 3 | type, where type 0 is a varint, type 2 a length
// and that many bytes, type 5 four bytes. The packages for it generate code from schemas or carry one; this is all there is to it.

function varint(value: bigint): number[] {
  const out: number[] = [];
  let rest = BigInt.asUintN(64, value); // a negative number is its two's complement: ten bytes
  for (; rest >= 128n; rest >>= 7n) out.push(Number(rest & 127n) | 128);
  return [...out, Number(rest)];
}

/** Fields in the order in which they are added. Large values are kept, not copied, until the whole is written. */
export class Message {
  readonly #pieces: Uint8Array[] = [];
  #length = 0;

  /** Bytes of the fields. */
  get length(): number {
    return this.#length;
  }

  *chunks(): Generator<Uint8Array> {
    yield* this.#pieces;
  }

  #push(piece: Uint8Array): void {
    this.#pieces.push(piece);
    this.#length += piece.length;
  }

  #key(field: number, type: number, ...more: number[]): void {
    this.#push(Uint8Array.from([...varint(BigInt((field << 3) | type)), ...more]));
  }

  /** int32, int64, enum. */
  integer(field: number, value: number): this {
    this.#key(field, 0, ...varint(BigInt(value)));
    return this;
  }

  float(field: number, value: number): this {
    this.#key(field, 5, ...new Uint8Array(Float32Array.of(value).buffer));
    return this;
  }

  bytes(field: number, value: Uint8Array): this {
    this.#key(field, 2, ...varint(BigInt(value.length)));
    this.#push(value);
    return this;
  }

  text(field: number, value: string): this {
    return this.bytes(field, new TextEncoder().encode(value));
  }

  message(field: number, value: Message): this {
    this.#key(field, 2, ...varint(BigInt(value.length)));
    for (const piece of value.chunks()) this.#push(piece);
    return this;
  }
}
