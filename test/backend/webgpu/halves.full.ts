// Every row of the op table in half precision.
import { testInHalves } from "./halves.ts";

testInHalves(() => true);
