import { test } from "uvu";
import * as assert from "uvu/assert";
import { Pace } from "../../src/train/pace.ts";

/** Runs to the end on a machine whose steps take `seconds(step)`; gives steps, time and the places visited. */
function run(pace: Pace, seconds: (step: number) => number, elapsed = 0) {
  const places: number[] = [];
  let time = elapsed;
  while (!pace.finished) {
    places.push(pace.position);
    const took = seconds(places.length);
    time += took;
    pace.advance(took);
  }
  return { places, time };
}

test("a run in steps visits 0, 1, 2 ... and never adapts", () => {
  assert.equal(run(Pace.steps(7), () => 100).places, [0, 1, 2, 3, 4, 5, 6]);
  assert.equal(run(Pace.steps(7, 5), () => 100).places, [5, 6]);
  assert.is(Pace.steps(7).expectedSteps, 7);
});

test("a run in minutes on a steady machine is a run of the estimated steps", () => {
  const pace = Pace.minutes(2, { secondsPerStep: 0.5, seconds: 4 });
  assert.is(pace.planned, 232);
  const { places, time } = run(pace, () => 0.5, 4);
  assert.is(places.length, 232);
  assert.ok(Math.abs(places[100] - 100) < 1e-9);
  assert.is(time, 120);
});

for (const [name, seconds] of [
  ["slower", () => 0.7],
  ["faster", () => 0.3],
  ["slower after half the time", (step: number) => (step < 120 ? 0.5 : 0.8)],
] as const) {
  test(`a machine that is ${name} than estimated completes the schedule in time`, () => {
    const pace = Pace.minutes(2, { secondsPerStep: 0.5, seconds: 0 });
    const { places, time } = run(pace, seconds);
    assert.ok(Math.abs(time - 120) < 6, `${time} s`);
    assert.ok(Math.abs(pace.position - 240) < 1e-6);
    places.slice(1).forEach((place, i) => assert.ok(place - places[i] <= 2 && place > places[i]));
  });
}

test("a resumed run in minutes goes on at its place, with the time that is left", () => {
  const whole = Pace.minutes(1, { secondsPerStep: 1, seconds: 0 });
  for (let i = 0; i < 20; i++) whole.advance(1);
  const resumed = Pace.resume(1, 20, whole.state);
  assert.equal(resumed.state, whole.state);
  assert.is(resumed.expectedSteps, 60);
  assert.is(run(resumed, () => 1, 20).time, 60);
});

test("a step longer than the whole time makes a run of one step", () => {
  const pace = Pace.minutes(0.1, { secondsPerStep: 60, seconds: 10 });
  assert.is(run(pace, () => 60).places.length, 1);
});

test.run();
