// Where official checkpoints keep the network that one wants: in front of its names stands one of these.

/** Prefixes in order of preference: a teacher before its student. */
const prefixes = [
  "", // released backbones
  "teacher.backbone.", // DINO, training file
  "backbone.",
  "module.backbone.", // Barlow Twins, VICReg; DINO's student
  "student.module.backbone.",
  "encoder.",
  "encoder_q.",
  "module.encoder_q.", // MoCo v1, v2
  "module.base_encoder.", // MoCo v3
  "module.encoder.", // SimSiam, PixPro
  "module.", // SwAV
  "model.", // MAE
  "state_dict.",
  "state_dict.module.encoder_q.",
] as const;

/** The first known prefix under which a checkpoint has every one of these names. */
export function findPrefix(names: Iterable<string>, checkpoint: ReadonlyMap<string, unknown>): string | undefined {
  const wanted = [...names].filter((name) => !name.endsWith("num_batches_tracked"));
  return prefixes.find((prefix) => wanted.every((name) => checkpoint.has(prefix + name)));
}
