import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { subset } from "../../src/data/source.ts";
import { demo } from "../../src/demo/demo.ts";
import { emojiOf } from "../../src/demo/emoji.ts";

const few = Array.from({ length: 130 }, (_, i) => 14 * i);
const [drawings, originals] = [subset(emojiOf("google"), few), subset(emojiOf("twitter"), few)];
const temporary = mkdtempSync(join(tmpdir(), "demo-"));
const test = suite("demo");

test.after(() => rmSync(temporary, { recursive: true, force: true }));

test("it trains, searches by pixels and by features, and shows both in the report", async () => {
  const folder = join(temporary, "whole");
  const result = await demo({ folder, epochs: 1, threads: 1 }, drawings, originals);
  assert.is(result.run.step, 4); // batches of 32
  const { pixels, learned } = result;
  for (const found of [pixels?.once, pixels?.several, learned?.once, learned?.several]) {
    assert.ok(found && found.top1 <= found.top5);
    assert.ok(found.top1 > (3 * 100) / few.length, "found by chance");
  }
  const page = readFileSync(result.report as string, "utf8");
  for (const title of ["Found by what was learned", "Found by raw pixels"]) assert.ok(page.includes(title), title);
  assert.ok(page.includes(`${learned?.once.top1.toFixed(1)} %`));
  assert.ok(existsSync(join(folder, "pictures", "Flags")));
});

test("stopped in the training, it searches nothing and leaves a run to resume", async () => {
  const stop = new AbortController();
  const folder = join(temporary, "stopped");
  const onEvent = ({ type }: { type: string }) => type === "step" && stop.abort();
  const result = await demo({ folder, epochs: 2, threads: 1, signal: stop.signal, onEvent }, drawings, originals);
  assert.ok(result.run.stopped);
  assert.is(result.report, undefined);
  assert.ok(existsSync(result.run.checkpoint));
  const whole = await demo({ folder, threads: 1 }, drawings, originals);
  assert.is(whole.run.step, 8);
  assert.ok(existsSync(whole.report as string), "asked again, it goes on and searches");
});

test.run();
