import { test } from "uvu";
import * as assert from "uvu/assert";
import { antialiased, sincosTable } from "../../src/models/positions.ts";

test("MoCo v3's positions are its own at places far from the corner, where float32 rounds angles", () => {
  const { data } = sincosTable(384, 24, { first: "row" });
  for (const [token, channel, value] of [
    [556, 97, -0.4578278362751007],
    [573, 2, 0.13433165848255157],
    [504, 193, 0.8890408873558044],
    [430, 292, -0.16914862394332886],
  ]) {
    assert.ok(Math.abs(data[token * 384 + channel] - value) < 2e-7, `${token}, ${channel}: ${data[token * 384 + channel]}`);
  }
});

/** torch.nn.functional.interpolate with mode "bicubic" and antialias, of the unit vectors. */
const interpolated: [from: number, to: number, rows: number[][]][] = [
  [
    7,
    3,
    [
      [0.3830645, 0.4395161, 0.2137097, 0, -0.032258, -0.0040323, 0],
      [-0.030525, 0.045177, 0.2759463, 0.4188034, 0.2759463, 0.045177, -0.030525],
      [0, -0.0040322, -0.032258, 0, 0.2137098, 0.4395161, 0.3830644],
    ],
  ],
  [
    3,
    5,
    [
      [1.0754716, -0.0754717, 0],
      [0.6492537, 0.3955224, -0.0447761],
      [0, 1, 0],
      [-0.0447761, 0.3955222, 0.6492538],
      [0, -0.0754717, 1.0754716],
    ],
  ],
];
for (const [from, to, rows] of interpolated) {
  test(`${from} places become ${to} with antialiasing as PyTorch makes them`, () => {
    const matrix = antialiased(from, to, to / from);
    for (const [i, row] of rows.entries()) {
      for (const [j, weight] of row.entries())
        assert.ok(Math.abs(matrix[i * from + j] - weight) < 5e-7, `${i}, ${j}: ${matrix[i * from + j]}`);
    }
  });
}

test.run();
