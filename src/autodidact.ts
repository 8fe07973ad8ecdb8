// The public door: everything that `import ... from "autodidact"` gives.

// Tensors and programs.
export type { Backend, Executable } from "./backend/backend.ts";
export { type BackendOptions, openBackend } from "./backend/open.ts";
export type { Checkpoint } from "./checkpoint/checkpoint.ts";
export { openCheckpoint } from "./checkpoint/open.ts";
export { CheckpointError, readSafetensors, writeSafetensors } from "./checkpoint/safetensors.ts";
export type { StoredTensor } from "./checkpoint/stored.ts";
export { writeTorch } from "./checkpoint/write-torch.ts";
// Images and checkpoints.
export { type Batch, type Loader, type LoaderOptions, openLoader } from "./data/loader.ts";
export { openImages } from "./data/open.ts";
export { ImageError, type Picture } from "./data/picture.ts";
export { type ImageSource, packedSource, readPicture, subset } from "./data/source.ts";
export type { ViewSpec } from "./data/views.ts";
export * as views from "./data/views.ts";
// Evaluation.
export { type Attended, type AttendRequest, attend } from "./evaluate/attend.ts";
export { entropy, jaccard, massMask } from "./evaluate/attention.ts";
export { type Embedded, type EmbedRequest, embed } from "./evaluate/embed.ts";
export { type Encoder, openEncoder } from "./evaluate/encoder.ts";
export { embedder, extract, extractPixels } from "./evaluate/features.ts";
export { type Inspection, inspect } from "./evaluate/inspect.ts";
export { classify, type Features, type Neighbours, nearest, normalizeRows, type Score } from "./evaluate/knn.ts";
export { type KnnRequest, type KnnScore, knn } from "./evaluate/score.ts";
export { tsne } from "./evaluate/tsne.ts";
export { type OnnxOptions, onnxModel } from "./export/backbone.ts";
export { type Exported, type ExportOptions, exportEncoder } from "./export/export.ts";
export { type OnnxModel, writeOnnx } from "./export/onnx.ts";
// Methods and recipes.
export { type Losses, type Method, method, type Parts, type Scalars } from "./methods/method.ts";
export { methods } from "./methods/methods.ts";
export * as options from "./methods/options.ts";
export type { Backbone } from "./models/backbone.ts";
export { type BackboneOptions, backbones, makeBackbone } from "./models/backbones.ts";
export { Beit } from "./models/beit.ts";
export { CvT } from "./models/cvt.ts";
export { fitTables } from "./models/fit-tables.ts";
export { readBackbone } from "./models/pretrained.ts";
export { type Published, published } from "./models/published.ts";
export { pull } from "./models/pull.ts";
export { type Found, findBackbone } from "./models/recognise.ts";
export { ResNet } from "./models/resnet.ts";
export { Swin } from "./models/swin.ts";
export { ViL } from "./models/vil.ts";
export { ViT } from "./models/vit.ts";
export { XCiT } from "./models/xcit.ts";
export { Attention } from "./nn/attention.ts";
export { Conv2d } from "./nn/conv.ts";
// Layers, optimisers, models.
export { ema } from "./nn/ema.ts";
export { withSeed } from "./nn/init.ts";
export { Linear } from "./nn/linear.ts";
export { Mlp } from "./nn/mlp.ts";
export { Buffer, Module, namedParameters, withContext } from "./nn/module.ts";
export { BatchNorm, LayerNorm } from "./nn/norm.ts";
export { Optimizer } from "./nn/optim/optimizer.ts";
export { makeOptimizer, type OptimizerSpec } from "./nn/optim/optimizers.ts";
export * as schedules from "./nn/optim/schedule.ts";
export { Sequential } from "./nn/sequential.ts";
export type { Recipe } from "./recipes/recipe.ts";
export { defaultRecipe, recipes } from "./recipes/recipes.ts";
export { grad } from "./tape/grad.ts";
export { concat } from "./tape/ops/move.ts";
export { dropout, dropPath, uniform } from "./tape/ops/random.ts";
export { crossEntropy, iota, oneHot, softCrossEntropy } from "./tape/ops/reduce.ts";
export { type Shape, ShapeError } from "./tape/shape.ts";
export { Parameter, Tensor } from "./tape/tensor.ts";
export { assign, compile, type Host, item } from "./tape/trace.ts";
// Training.
export type { RunEvent, RunResult, Watch } from "./train/events.ts";
export { type Health, health } from "./train/health.ts";
export { TrainingError } from "./train/loop.ts";
export { configure, RequestError, type RunOptions, type RunRequest, type RunSettings } from "./train/options.ts";
export { type Gallery, type ReportOptions, report } from "./train/report.ts";
export { type Metric, RunExistsError, RunFolder, type RunRecord } from "./train/run.ts";
export { type ResumeOptions, resume, type TrainOptions, train } from "./train/train.ts";
