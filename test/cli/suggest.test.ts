import { suite } from "uvu";
import * as assert from "uvu/assert";
import { didYouMean, editDistance, nearest } from "../../cli/suggest.ts";

const test = suite("suggest");

const distances: [string, string, number][] = [
  ["", "", 0],
  ["", "abc", 3],
  ["kitten", "sitting", 3],
  ["trian", "train", 1], // neighbours swapped
  ["simsaim", "simsiam", 1],
  ["ca", "abc", 3], // restricted: no edit inside a swapped pair
];
for (const [a, b, distance] of distances) {
  test(`"${a}" and "${b}" are ${distance} edits apart, either way round`, () => {
    assert.is(editDistance(a, b), distance);
    assert.is(editDistance(b, a), distance);
  });
}

const methods = ["simclr", "moco-v2", "dino", "mae", "simsiam"];

test("the nearest name comes first and far ones are left out", () => {
  assert.equal(nearest("simclar", methods), ["simclr"]);
  assert.equal(nearest("SimSaim", methods), ["simsiam"]);
  assert.equal(nearest("banana", methods), []);
});

test("a beginning finds the longer names", () => assert.equal(nearest("moco", methods), ["moco-v2"]));

test("no more than three names are offered", () => assert.is(nearest("aa", ["ab", "ac", "ad", "ae"]).length, 3));

test("the sentence is empty when no name is near", () => {
  assert.is(didYouMean("sim", ["simclr", "simsiam"]), 'did you mean "simclr" or "simsiam"?');
  assert.is(didYouMean("zzzzzz", methods), "");
});

test.run();
