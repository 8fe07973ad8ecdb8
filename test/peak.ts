import { readFileSync } from "node:fs";

/**
 * The most bytes of memory that this process has held so far. On Linux not from `resourceUsage()`: that begins with what the parent process held
 * when it started this one.
 */
export function peakBytes(): number {
  if (process.platform !== "linux") return 1024 * process.resourceUsage().maxRSS;
  const [, kilobytes] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8")) as RegExpExecArray;
  return 1024 * Number(kilobytes);
}
