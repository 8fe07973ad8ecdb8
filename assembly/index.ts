// The one module: what JavaScript calls. Everything else is reached through the command stream.
export { run } from "./program";
