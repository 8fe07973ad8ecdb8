import { crc32 } from "node:zlib";

/** CRC-32 as zip files have it, going on from that of the bytes before. In parts: Node counts the bytes of a call in 32 bits. */
export function crcOf(bytes: Uint8Array, before = 0): number {
  let crc = before;
  for (let at = 0; at < bytes.length; at += 2 ** 30) crc = crc32(bytes.subarray(at, at + 2 ** 30), crc);
  return crc;
}
