// Every row of the op table in half precision.
import { inHalvesSuite } from "./halves.ts";

inHalvesSuite(() => true).run();
