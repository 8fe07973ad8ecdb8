import { suite } from "uvu";
import * as assert from "uvu/assert";
import { amount, bytes, counter, duration, progress, stepLine } from "../../cli/progress.ts";
import type { RunEvent, StepEvent } from "../../src/train/events.ts";
import { recorder } from "./support.ts";

const step = (n: number, more: Partial<StepEvent> = {}): StepEvent => ({
  type: "step",
  step: n,
  steps: 1600,
  epoch: n / 40,
  epochs: 40,
  loss: 4.81234,
  lr: 0.1,
  metrics: { std: 0.08 },
  imagesPerSecond: 1234.4,
  secondsLeft: 125,
  memoryBytes: 412_345_678,
  logged: true,
  ...more,
});
const line = "epoch  3.2/40  step  128/1600  loss 4.8123  1,234 images/s  2m 05s left  412 MB";

const test = suite("progress");

test("a step's line holds epoch, step, loss, speed, time left and memory", () => assert.is(stepLine(step(128)), line));

test("a pipe gets one plain line a logged step", () => {
  const terminal = recorder();
  const shown = progress(terminal, { json: false });
  shown.show(step(127, { logged: false }));
  shown.show(step(128));
  shown.close();
  assert.equal(terminal.said, { out: "", err: `${line}\n` });
});

test("a terminal gets one live line, which notes do not tear, cut to the window", () => {
  const terminal = recorder({ columns: 20, env: { NO_COLOR: "1" } });
  const shown = progress(terminal, { json: false });
  shown.show(step(128));
  shown.show({ type: "warning", message: "a.jpg: not an image" });
  shown.close();
  const clear = "\r\x1b[K";
  const cut = `${clear}${line.slice(0, 19)}`;
  assert.is(terminal.said.err, `${cut}${clear}warning: a.jpg: not an image\n${cut}${cut}\n`);
  assert.is(terminal.said.out, "");
});

test("the live line is drawn at most ten times a second, and for the last step", () => {
  const terminal = recorder({ columns: 200 });
  const shown = progress(terminal, { json: false });
  for (let n = 1; n <= 1600; n++) shown.show(step(n));
  assert.ok(terminal.said.err.split("\r").length < 20);
  assert.match(terminal.said.err, /step 1600\/1600[^\r]*$/);
});

test("machines get every event as a line of JSON on stdout, version first", () => {
  const terminal = recorder({ columns: 80 });
  const events: RunEvent[] = [step(1), { type: "knn", step: 1, epoch: 1, top1: 45, top5: 80, pixelsTop1: 39.8 }];
  const shown = progress(terminal, { json: true });
  for (const event of events) shown.show(event);
  shown.close();
  const lines = terminal.said.out.trimEnd().split("\n");
  assert.ok(lines.every((text) => text.startsWith('{"version":1,"type":')));
  assert.equal(
    lines.map((text) => JSON.parse(text)),
    events.map((event) => ({ version: 1, ...event })),
  );
  assert.is(terminal.said.err, "");
});

test("scores stand beside those of raw pixels, and a collapse is a warning", () => {
  const terminal = recorder();
  const shown = progress(terminal, { json: false });
  shown.show({ type: "knn", step: 80, epoch: 2, top1: 45.123, top5: 80, pixelsTop1: 39.8 });
  shown.show({ type: "health", step: 80, std: 0.001, rank: 1.2, alignment: 0.01, uniformity: -0.02, warning: "features collapse" });
  const [knn, health, warning] = terminal.said.err.split("\n");
  assert.is(knn, "step 80: kNN top-1 45.12 %, top-5 80.00 % (raw pixels 39.80 %)");
  assert.is(health, "step 80: feature std 0.0010, effective rank 1.2, alignment 0.010, uniformity -0.020");
  assert.is(warning, "warning: features collapse");
});

test("a count of pictures is live on a terminal, and a line every ten seconds on a pipe", () => {
  const [pipe, screen] = [recorder(), recorder({ columns: 80 })];
  let clock = 0;
  const [lines, live] = [pipe, screen].map((terminal) => counter(terminal, () => clock));
  for (const count of [lines, live]) {
    for (clock = 0; clock <= 21_000; clock += 3_000) count.show(clock, 50_000);
    clock = 0;
    count.close();
  }
  assert.is(pipe.said.err, "12,000 of 50,000 images\n");
  assert.is(screen.said.err.split("\r").length, 1 + 8 + 1);
  assert.ok(screen.said.err.endsWith("21,000 of 50,000 images\r\x1b[K"));
});

const durations: [number, string][] = [
  [0, "0s"],
  [59.6, "1m 00s"],
  [125, "2m 05s"],
  [3599.6, "1h 00m"],
  [4000, "1h 06m"],
  [Number.POSITIVE_INFINITY, "?"],
];
for (const [seconds, text] of durations) test(`${seconds} s reads ${text}`, () => assert.is(duration(seconds), text));

const sizes: [number, string][] = [
  [1, "1 kB"],
  [999_000, "999 kB"],
  [412_345_678, "412 MB"],
  [2_500_000_000, "2.50 GB"],
];
for (const [count, text] of sizes) test(`${count} bytes read ${text}`, () => assert.is(bytes(count), text));

test("amounts have thousands marked, and a decimal where they are small", () => {
  assert.equal([amount(1234.5), amount(7.25), amount(12), amount(0)], ["1,235", "7.3", "12", "0"]);
});

test.run();
