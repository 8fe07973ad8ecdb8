// What it costs to walk a program, whatever its steps compute: a training step of ViT-tiny against a program with as many steps,
// each on one number and each waiting for the one before. `tsx test/bench/dispatch.ts [threads]`

import type { WasmExecutable } from "../../src/backend/wasm/executable.ts";
import { WasmBackend } from "../../src/backend/wasm.ts";
import { makeBackbone } from "../../src/models/backbones.ts";
import { namedParameters, withContext } from "../../src/nn/module.ts";
import { AdamW } from "../../src/nn/optim/adamw.ts";
import { grad } from "../../src/tape/grad.ts";
import type { Program, Step, View } from "../../src/tape/program.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile, type Host } from "../../src/tape/trace.ts";
import { contiguous } from "../../src/tape/view.ts";
import { spreadOf, timesOf } from "./measure.ts";

const BATCH = 16;

/** `count` steps, each of which adds one to what the last one left. */
function chain(count: number): Program {
  const views = [0, 1].map((id): View => contiguous({ id, size: 1, kind: "arena", offset: 16 * id }, [1]));
  const steps = Array.from({ length: count }, (_, i): Step => {
    const [from, to] = [views[i % 2], views[(i + 1) % 2]];
    const code = [
      { op: "constant", to: 1, from: [], value: 1 },
      { op: "add", to: 2, from: [0, 1] },
    ];
    const body = { shape: [1], inputs: [from], code, outputs: [{ view: to, register: 2 }], registers: 3 };
    return { op: "elementwise", inputs: [from], outputs: [to], attrs: {}, body, label: "add" };
  });
  return { steps, buffers: views.map((view) => view.buffer), arena: 32, outputs: [] };
}

function trainingStep(backend: WasmBackend) {
  const model = makeBackbone("vit-tiny-16", { size: 224 });
  const optimizer = new AdamW([...namedParameters({ model })]);
  return compile(
    (x: Tensor, lr: Tensor, weightDecay: Tensor) =>
      withContext({ training: true }, () => {
        const loss = model.forward(x).square().mean();
        optimizer.update(grad(loss, optimizer.parameters), { lr, weightDecay });
        return loss;
      }),
    backend,
  );
}

const threads = Number(process.argv[2] ?? 2);
const backend = await WasmBackend.open({ threads });
const step = trainingStep(backend);
const shape = [BATCH, 224, 224, 3];
const x: Host = { shape, data: Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => Math.sin(0.37 * i)) };
const { steps } = (await step.prepare(x, 1e-3, 0.05)) as WasmExecutable;
const empty = backend.loadProgram(chain(steps));
await empty.run([]);
const walk = spreadOf(await timesOf(() => empty.run([]), 1000));
await step(x, 1e-3, 0.05);
const whole = spreadOf(await timesOf(() => step(x, 1e-3, 0.05), 6000));
const share = (100 * walk.median) / whole.median;
console.log(
  `${threads} thread(s), ${steps} steps: walking ${walk.median.toFixed(2)} ms, ViT-tiny step at batch ${BATCH} ${whole.median.toFixed(0)} ms: ${share.toFixed(2)} %`,
);
await backend.close();
