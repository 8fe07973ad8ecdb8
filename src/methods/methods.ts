// Every method by name.
import { dino } from "./dino.ts";
import { mae } from "./mae.ts";
import type { Method } from "./method.ts";
import { moco } from "./moco.ts";
import { simclr } from "./simclr.ts";

export const methods: Readonly<Record<string, Method>> = { simclr, moco, dino, mae };
