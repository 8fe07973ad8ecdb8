import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { profileLines } from "../../cli/profile.ts";
import { bytes } from "../../cli/progress.ts";
import type { ProfileEvent, RunEvent } from "../../src/train/events.ts";
import { train } from "../../src/train/train.ts";
import { pictures } from "./pictures.ts";

interface Slice {
  ph: string;
  tid: number;
  name: string;
  ts: number;
  dur: number;
  args: { module?: string; pass?: string; flops?: number };
}

const near = (a: number, b: number) => assert.ok(Math.abs(a - b) <= 1e-9 * Math.abs(b), `${a}, expected ${b}`);
const profiled = suite<{ root: string; event: ProfileEvent; plain: Buffer; timed: Buffer }>("profile");
profiled.before(async (context) => {
  context.root = await mkdtemp(join(tmpdir(), "autodidact-profile-"));
  const request = { method: "simclr", backbone: "resnet18-cifar-w0.25", images: "", size: 8, batch: 6, accumulate: 2, steps: 6 };
  const settings = { threads: 2, healthEvery: 0, knnEvery: -1, report: false, build: "plain" as const };
  const checkpointOf = async (name: string, profile: boolean) => {
    const onEvent = (event: RunEvent) => {
      if (event.type === "profile") context.event = event;
    };
    const result = await train(request, { run: join(context.root, name), settings, source: pictures(8), profile, onEvent });
    return readFile(result.checkpoint);
  };
  context.plain = await checkpointOf("plain", false);
  assert.is(context.event, undefined);
  context.timed = await checkpointOf("timed", true);
});
profiled.after(({ root }) => rm(root, { recursive: true }));

profiled("changes no bit of the run", ({ plain, timed }) => assert.ok(plain.equals(timed)));

profiled("adds up: ops and modules to the same time and work, passes to their module", ({ event }) => {
  const total = (rows: ProfileEvent["ops"], of: "timeMs" | "share" | "flops" | "bytes" | "count") =>
    rows.reduce((sum, row) => sum + row[of], 0);
  for (const of of ["timeMs", "flops", "bytes", "count"] as const) near(total(event.modules, of), total(event.ops, of));
  near(total(event.ops, "share"), 1);
  assert.ok(total(event.ops, "timeMs") <= event.stepMs);
  for (const { passMs, timeMs } of event.modules) near(passMs.forward + passMs.backward + passMs.update, timeMs);
  assert.ok(event.peak && event.peak > 0.1);
});

profiled("knows modules by the names of their parameters, and what each pass of them costs", ({ event }) => {
  const conv = event.modules.find(({ name }) => name.endsWith("layer1.0.conv1"));
  assert.ok(conv, event.modules.map(({ name }) => name).join());
  // Two views of two micro-batches of three images, 16 channels in and out at 8 x 8: forward, and two gradients.
  const forward = 2 * 2 * 3 * 64 * 16 * 9 * 16 * 2;
  assert.ok(conv.flops >= 3 * forward && conv.flops < 3.1 * forward, `${conv.flops} against ${3 * forward}`);
  assert.ok(conv.passMs.forward > 0 && conv.passMs.backward > 0);
});

profiled("writes a trace whose slices lie in their steps", async ({ event }) => {
  const { traceEvents } = JSON.parse(await readFile(event.trace, "utf8")) as { traceEvents: Slice[] };
  const slices = traceEvents.filter(({ ph }) => ph === "X");
  const row = (tid: number) => slices.filter((slice) => slice.tid === tid);
  assert.is(row(0).length, event.steps);
  assert.is(row(2).length, event.steps);
  assert.ok(row(1).some(({ name, args }) => name.startsWith("conv2d") && args.pass === "forward" && args.module && (args.flops ?? 0) > 0));
  for (const { ts, dur } of row(1)) {
    const inside = row(0).filter((step) => ts >= step.ts - 1 && ts + dur <= step.ts + step.dur + 1);
    assert.is(inside.length, 1, `slice at ${ts}`);
  }
});

profiled("prints both tables with their units", ({ event }) => {
  const lines = profileLines(event, { bytes });
  assert.match(lines[0], /^profile of a step, mean of 3: \d+\.\d ms after \d+\.\d ms of waiting for images$/);
  assert.match(lines[1], /^\d+\.\d\d GFLOP, \d+\.\d GFLOP\/s, \d+ % of the \d+ that the fastest kernel reaches; \d+ [kM]B moved$/);
  assert.ok(lines.some((line) => /^conv2d +\d+ +\d+\.\d\d +\d+\.\d % /.test(line)));
  assert.ok(lines.at(-1)?.endsWith("trace.json"));
});

profiled.run();
