#!/usr/bin/env node
import { autodidact } from "./commands.ts";
import { processTerminal } from "./terminal.ts";

process.exitCode = await autodidact(process.argv.slice(2), processTerminal());
