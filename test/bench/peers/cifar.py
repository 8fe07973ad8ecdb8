"""What the PyTorch comparisons share: CIFAR-10's binary files, batches of views, the schedule, weighted neighbours, the run."""

import argparse
import json
import math
import os
import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def read(path, count):
    """The first `count` records: pictures [count, 32, 32, 3] uint8 and labels [count]."""
    records = np.fromfile(path, np.uint8, count * 3073).reshape(-1, 3073)
    return records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).copy(), torch.from_numpy(records[:, 0].astype(np.int64))


def normalised(pictures):
    """[n, 32, 32, 3] uint8 -> [n, 3, 32, 32]"""
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    return ((x - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)).contiguous(memory_format=torch.channels_last)


def views(pictures, transform):
    """One view of each picture."""
    return normalised(np.stack([np.asarray(transform(Image.fromarray(picture))) for picture in pictures]))


def rate(peak, step, steps, warmup):
    """Linear warm-up that reaches the peak after its last step, then half a cosine to 0."""
    if step < warmup:
        return peak * step / warmup
    return peak / 2 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def groups(parameters, weight_decay):
    """Biases and the scales and shifts of norms do not decay."""
    parameters = [p for p in parameters if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def knn(train, train_labels, test, test_labels, k=20, tau=0.07):
    """Top-1 of the neighbours' weighted votes, per cent."""
    similarity, index = (F.normalize(test) @ F.normalize(train).T).topk(k)
    votes = torch.zeros(len(test), 10).scatter_add_(1, train_labels[index], (similarity / tau).exp())
    return 100 * (votes.argmax(1) == test_labels).float().mean().item()


def arguments(description, epochs, batch):
    """The command line; the recipe's length and batch are the script's own."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("folder", help="folder with CIFAR-10's data_batch_1.bin and test_batch.bin (`autodidact data cifar10`)")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=int, default=0, help="steps between scores; 0: only at the end")
    parser.add_argument("--train", type=int, default=10000, help="training pictures")
    parser.add_argument("--test", type=int, default=2000, help="test pictures")
    parser.add_argument("--held-out", action="store_true", help="score pictures of data_batch_5.bin in place of test pictures")
    parser.add_argument("--standardize", action="store_true", help="score features with mean 0 and deviation 1 over the training pictures")
    args = parser.parse_args()
    args.batch, args.steps = batch, args.steps or epochs * (args.train // batch)
    return args


def nothing():
    """What follows the gradients or the step of most methods."""


def run(method, args, optimizer, peak, warmup_epochs, loss_of, encode, before=nothing, after=nothing):
    """
    Trains and prints a line of JSON for each score. `loss_of(pictures)` is a step's loss, `encode(x)` gives features; `before` and `after` are called
    around the optimiser's step.
    """
    pictures, labels = read(os.path.join(args.folder, "data_batch_1.bin"), args.train)
    tests, test_labels = read(os.path.join(args.folder, "data_batch_5.bin" if args.held_out else "test_batch.bin"), args.test)

    def pixels(x):
        return torch.from_numpy(x.reshape(len(x), -1)).float()

    def features(x):
        with torch.no_grad():
            return torch.cat([encode(normalised(x[i : i + 256])) for i in range(0, len(x), 256)])

    def top1_of(rows, center):
        bank, queries = rows(pictures), rows(tests)
        mean = bank.mean(0) if center or args.standardize else 0
        scale = bank.std(0, unbiased=False).clamp_min(1e-12) if args.standardize else 1
        return knn((bank - mean) / scale, labels, (queries - mean) / scale, test_labels)

    def score(step, loss):
        top1 = top1_of(features, center=False)
        row = {"method": method, "with": f"PyTorch {torch.__version__}", "seed": args.seed, "standardize": args.standardize, "step": step, "epoch": step / per_epoch}
        row |= {"loss": loss, "knnTop1": top1, "pixelsTop1": raw, "seconds": time.time() - begun}
        print(json.dumps(row), flush=True)

    raw = top1_of(pixels, center=True)
    per_epoch = len(pictures) // args.batch
    warmup = round(min(warmup_epochs, args.steps / per_epoch / 4) * per_epoch)
    order, begun = np.random.RandomState(args.seed), time.time()
    for step in range(args.steps):
        if step % per_epoch == 0:
            permutation = order.permutation(len(pictures))
        rows = permutation[step % per_epoch * args.batch :][: args.batch]
        for group in optimizer.param_groups:
            group["lr"] = rate(peak, step, args.steps, warmup)
        loss = loss_of(pictures[rows])
        optimizer.zero_grad()
        loss.backward()
        before()
        optimizer.step()
        after()
        if step + 1 == args.steps or (args.every and (step + 1) % args.every == 0):
            score(step + 1, loss.item())
