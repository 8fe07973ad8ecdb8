import { test } from "uvu";
import * as assert from "uvu/assert";
import { Beit, type BeitOptions } from "../../src/models/beit.ts";
import { fitTables } from "../../src/models/fit-tables.ts";
import { resizePositions } from "../../src/models/positions.ts";
import { resizeBias, windowIndex } from "../../src/models/relative-position.ts";
import { Swin } from "../../src/models/swin.ts";
import { ViL } from "../../src/models/vil.ts";
import { ViT } from "../../src/models/vit.ts";
import type { Module } from "../../src/nn/module.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile, type Host } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import { reference } from "../support.ts";

const close = (a: Float32Array, b: Float32Array) => assert.ok(a.length === b.length && a.every((x, i) => Math.abs(x - b[i]) < 1e-6));
const swin = (window: number, size: number) => new Swin({ dim: 8, depths: [2, 1], heads: [2, 4], window, size, storeMasks: true });
const beit = (size: number, relative: BeitOptions["relative"]) => new Beit({ dim: 8, depth: 2, heads: 2, patch: 4, size, relative });
/** A model's state with tables that say something. */
const trained = (model: Module) =>
  new Map([...model.state()].map(([name, host]) => [name, name.endsWith("table") ? fill(name, host.shape, "input") : host]));

test("Swin's tables are resized for larger windows, and its indices and masks are those of the new windows", () => {
  const [small, large] = [trained(swin(3, 24)), swin(4, 32)];
  large.load(fitTables(large, small));
  const state = large.state();
  const name = "layers.1.blocks.0.attn.relative_position_bias_table";
  assert.equal(state.get(name), resizeBias(small.get(name) as never, 4, "geometric"));
  assert.equal(state.get("layers.0.blocks.1.attn.relative_position_index"), windowIndex(4));
  assert.equal(state.get("layers.0.blocks.1.attn_mask"), swin(4, 32).state().get("layers.0.blocks.1.attn_mask"));
  assert.equal(state.get("layers.0.blocks.1.mlp.fc1.weight"), small.get("layers.0.blocks.1.mlp.fc1.weight"));
});

test("bicubic resizing differs from geometric", () => {
  const [small, large] = [trained(swin(3, 24)), swin(4, 32)];
  const table = (method: "geometric" | "bicubic") =>
    fitTables(large, small, method).get("layers.0.blocks.0.attn.relative_position_bias_table");
  assert.not.equal(table("bicubic"), table("geometric"));
});

test("a table that all of BEiT's blocks share is resized for each block that has its own, with the class token's rows as they were", () => {
  const [pretrained, classifier] = [trained(beit(12, "shared")), beit(20, "per-block")];
  classifier.load(fitTables(classifier, pretrained));
  const shared = pretrained.get("rel_pos_bias.relative_position_bias_table");
  for (const { attn } of classifier.blocks) {
    const table = attn.relative_position_bias_table?.data as Float32Array;
    assert.equal(table, resizeBias(shared as never, 5, "geometric", 3).data);
    assert.equal(table.slice(-6), shared?.data.slice(-6));
  }
});

test("absolute positions are resized as pictures, the class token's stays", async () => {
  const make = (size: number) => new ViT({ dim: 8, depth: 1, heads: 2, patch: 4, size });
  const state = make(12).state();
  const fit = fitTables(make(20), state).get("pos_embed");
  const resized = await compile((table: Tensor) => resizePositions(table, [5, 5]), reference)(state.get("pos_embed") as never);
  assert.equal(fit?.shape, [1, 26, 8]);
  close(fit?.data as Float32Array, resized.data);
});

test("ViL's positions of rows and of columns are resized as a table of both would be", async () => {
  const make = (size: number) => new ViL({ arch: "l1,h1,d8,n1,s1,g1,p4,f3_l2,h1,d8,n1,s0,g1,p2,f3", size });
  const [state, large] = [trained(make(24)), make(40)];
  state.set("layer1.0.y_pos_embed", fill("y", [1, 6, 4], "input"));
  large.load(fitTables(large, state));
  const { data } = state.get("layer1.0.y_pos_embed") as Host;
  const table = { data: Float32Array.from({ length: 6 * 6 * 4 }, (_, i) => data[i % data.length]), shape: [1, 36, 4] }; // by column in every row
  const resized = await compile((x: Tensor) => resizePositions(x, [10, 10], { extra: 0 }), reference)(table);
  close(large.state().get("layer1.0.y_pos_embed")?.data as Float32Array, resized.data.slice(0, 10 * 4));
});

test("weights that fit stay as they are, and what does not fit is left for loading to refuse", () => {
  const model = swin(3, 24);
  assert.equal(new Map([...fitTables(model, model.state())].sort()), new Map([...model.state()].sort()));
  const other = new Swin({ dim: 16, depths: [2, 1], heads: [2, 4], window: 3, size: 24, storeMasks: true });
  assert.throws(
    () => other.load(fitTables(other, model.state())),
    /^Cannot load "patch_embed\.proj\.weight": checkpoint has \[8, 3, 4, 4\]/,
  );
});

test.run();
