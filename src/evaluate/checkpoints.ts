// The checkpoints in a run folder.
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { CheckpointError } from "../checkpoint/safetensors.ts";

export interface CheckpointFile {
  /** Steps that were done when it was written. */
  readonly step: number;
  readonly path: string;
}

export const checkpointFolder = (run: string): string => join(run, "checkpoints");

export const checkpointPath = (run: string, step: number): string =>
  join(checkpointFolder(run), `step-${String(step).padStart(8, "0")}.safetensors`);

/** Finished checkpoints, oldest first. */
export async function checkpointsIn(run: string): Promise<CheckpointFile[]> {
  const names = await readdir(checkpointFolder(run)).catch(() => []);
  return names
    .flatMap((name) => {
      const match = /^step-(\d+)\.safetensors$/.exec(name);
      return match ? [{ step: Number(match[1]), path: join(checkpointFolder(run), name) }] : [];
    })
    .sort((a, b) => a.step - b.step);
}

/** The newest checkpoint of a run; throws if there is none. */
export async function newestCheckpoint(run: string): Promise<CheckpointFile> {
  const file = (await checkpointsIn(run)).at(-1);
  if (!file) throw new CheckpointError(`Cannot find a checkpoint in ${run}: looked for ${checkpointFolder(run)}/step-*.safetensors`);
  return file;
}
