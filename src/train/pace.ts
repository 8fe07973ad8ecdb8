// How far a run is along its schedule. Counted in steps that is simply the step's number. A run in minutes does not know how
// many steps it will take: their number is estimated from a few trial steps whose changes are taken back, the schedule is laid
// out over that many, and from then on each step moves the run along the schedule by about 1, a little more or less when the
// machine turns out slower or faster, so that the schedule is complete when the time is over. Such a run depends on the clock;
// its step count, given as `--steps`, makes it repeatable.

/** What a run in minutes must remember across an interruption. */
export interface PaceState {
  /** Steps that the schedule was laid out for. */
  readonly planned: number;
  /** Place on the schedule, 0 to `planned`. */
  readonly position: number;
  /** Places a step, 1 as estimated. */
  readonly rate: number;
  /** Seconds of the budget that are used up. */
  readonly seconds: number;
}

export class Pace {
  readonly planned: number;
  readonly #budget: number; // seconds; infinite for a run in steps
  #position: number;
  #rate: number;
  #seconds: number;
  #since: { step: number; seconds: number }; // the last adaptation
  #steps: number;

  private constructor(planned: number, budget: number, steps: number, { position, rate, seconds }: Omit<PaceState, "planned">) {
    this.planned = planned;
    this.#budget = budget;
    this.#position = position;
    this.#rate = rate;
    this.#seconds = seconds;
    this.#steps = steps;
    this.#since = { step: steps, seconds };
  }

  /** A run of a known number of steps, of which some are done. */
  static steps(planned: number, done = 0): Pace {
    return new Pace(planned, Number.POSITIVE_INFINITY, done, { position: done, rate: 1, seconds: 0 });
  }

  /** A run in minutes, with what a trial step took and what has gone by before the first one. */
  static minutes(minutes: number, { secondsPerStep, seconds }: { secondsPerStep: number; seconds: number }): Pace {
    const planned = Math.max(1, Math.round((60 * minutes - seconds) / secondsPerStep));
    return new Pace(planned, 60 * minutes, 0, { position: 0, rate: 1, seconds });
  }

  /** A run in minutes that was interrupted after a number of steps. */
  static resume(minutes: number, done: number, state: PaceState): Pace {
    return new Pace(state.planned, 60 * minutes, done, state);
  }

  /** Place on the schedule: what schedules are asked for. */
  get position(): number {
    return this.#position;
  }

  get finished(): boolean {
    return this.#position >= this.planned - 1e-6;
  }

  /** Steps of the whole run as known now. */
  get expectedSteps(): number {
    return this.#steps + Math.max(0, Math.ceil((this.planned - this.#position) / this.#rate - 1e-6));
  }

  get state(): PaceState {
    return { planned: this.planned, position: this.#position, rate: this.#rate, seconds: this.#seconds };
  }

  /** Counts a step. `seconds` of the budget went by since the step before. Gives the new rate when it changes. */
  advance(seconds: number): number | undefined {
    this.#steps++;
    this.#position = Math.min(this.planned, this.#position + this.#rate);
    this.#seconds += seconds;
    return this.#budget === Number.POSITIVE_INFINITY || this.finished ? undefined : this.#adapt();
  }

  /** About fifty times a run, by the speed since the last time; at most half or double the estimated pace. */
  #adapt(): number | undefined {
    const steps = this.#steps - this.#since.step;
    if (steps < Math.max(2, this.planned / 50)) return undefined;
    const secondsPerStep = (this.#seconds - this.#since.seconds) / steps;
    const stepsLeft = Math.max(1, (this.#budget - this.#seconds) / secondsPerStep);
    this.#rate = Math.min(2, Math.max(0.5, (this.planned - this.#position) / stepsLeft));
    this.#since = { step: this.#steps, seconds: this.#seconds };
    return this.#rate;
  }
}
