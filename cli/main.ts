#!/usr/bin/env node
import { autodidact } from "./commands.ts";
import { processTerminal } from "./terminal.ts";

const terminal = processTerminal();
process.exitCode = await autodidact(process.argv.slice(2), terminal);
if (terminal.stop.aborted) process.exit(); // what was left at once may still be at work
