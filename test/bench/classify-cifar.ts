// npx tsx test/bench/classify-cifar.ts WEIGHTS CIFAR_FOLDER
//
// Scores one of He et al.'s CIFAR ResNets on the 10,000 test pictures. WEIGHTS is a file of github.com/akamaster/pytorch_resnet_cifar10
// (resnet20-12fca82f.th scores 91.73 %), CIFAR_FOLDER holds test_batch.bin.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openBackend } from "../../src/backend/open.ts";
import { normalised, openClassifier } from "../golden/resnet-cifar.ts";

const RECORD = 3073; // a label, then 1,024 reds, greens and blues
const PLANE = 1024;
const BATCH = 100;

const [weights, folder] = process.argv.slice(2);
if (!weights || !folder) throw new TypeError("usage: classify-cifar.ts WEIGHTS CIFAR_FOLDER");
const records = readFileSync(join(folder, "test_batch.bin"));
const scale = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

/** Pictures of a batch as rows of red, green and blue. */
function pixels(first: number): Uint8Array {
  return Uint8Array.from({ length: BATCH * PLANE * 3 }, (_, i) => {
    const [picture, place, colour] = [Math.floor(i / (3 * PLANE)), Math.floor(i / 3) % PLANE, i % 3];
    return records[(first + picture) * RECORD + 1 + colour * PLANE + place];
  });
}

const backend = await openBackend();
const { name, run } = await openClassifier(weights, backend);
const count = records.length / RECORD;
let right = 0;
for (let first = 0; first < count; first += BATCH) {
  const { logits } = await run(normalised(pixels(first), scale));
  for (let i = 0; i < BATCH; i++) {
    const row = logits.data.subarray(10 * i, 10 * i + 10);
    right += Number(row.indexOf(Math.max(...row)) === records[(first + i) * RECORD]);
  }
}
await backend.close();
console.log(`${name}: ${right} of ${count} right, top-1 ${((100 * right) / count).toFixed(2)} %`);
