"""DINO by the recipe dino-cifar-vit-mini in plain PyTorch: what `npx tsx test/bench/learn.ts dino` is compared with.

    python3 test/bench/peers/dino_cifar.py data/cifar10 --steps 9360 --seed 0

Needs PyTorch, torchvision and Pillow. A ViT of 4 blocks of 128 behind a stem of three convolutions (patches of 8 pixels), its features the mean of the
patches; two large views and two of 16 pixels.
"""

import copy
import math

import torch
import torch.nn.functional as F
import torchvision.transforms as T
from cifar import arguments, groups, run, views
from mae_cifar import Block
from torch import nn

PATCH, GRID, DIM = 8, 4, 128
OUTPUTS, HIDDEN, BOTTLENECK = 1024, 256, 64


def initialise(module):
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            nn.init.zeros_(part.bias)


class ViT(nn.Module):
    def __init__(self, depth=4, heads=4):
        super().__init__()
        widths = [3, DIM // 4, DIM // 2, DIM]
        halve = [[nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()] for a, b in zip(widths, widths[1:])]
        self.patch_embed = nn.Sequential(*[layer for layers in halve for layer in layers], nn.Conv2d(DIM, DIM, 1))
        self.cls_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, DIM), std=0.02))
        self.pos_embed = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1 + GRID**2, DIM), std=0.02))
        self.blocks = nn.Sequential(*[Block(DIM, heads) for _ in range(depth)])
        self.fc_norm = nn.LayerNorm(DIM, 1e-6)
        initialise(self)

    def positions(self, side):
        """The table for side x side patches: bicubic, by scale factors with 0.1 patches added, as DINO's."""
        if side == GRID:
            return self.pos_embed
        table = self.pos_embed[:, 1:].reshape(1, GRID, GRID, DIM).permute(0, 3, 1, 2)
        resized = F.interpolate(table, scale_factor=(side + 0.1) / GRID, mode="bicubic")
        return torch.cat([self.pos_embed[:, :1], resized.permute(0, 2, 3, 1).reshape(1, side * side, DIM)], 1)

    def forward(self, x):
        patches = self.patch_embed(x)
        tokens = patches.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], 1) + self.positions(patches.shape[-1])
        return self.fc_norm(self.blocks(tokens)[:, 1:].mean(1))


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(DIM, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, BOTTLENECK))
        initialise(self)
        last = nn.Linear(BOTTLENECK, OUTPUTS, bias=False)
        self.last = nn.Parameter(last.weight.detach().clone())

    def forward(self, x):
        return F.normalize(self.mlp(x), dim=-1) @ F.normalize(self.last, dim=-1).T


def view(side, scale):
    crop = T.RandomResizedCrop(side, scale, interpolation=T.InterpolationMode.BICUBIC)
    jitter = T.RandomApply([T.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8)
    return T.Compose([crop, T.RandomHorizontalFlip(), jitter, T.RandomGrayscale(0.2)])


class Dino:
    """Student, teacher and centre; `loss` is one step's, `after` what follows the optimiser."""

    def __init__(self, steps, per_epoch):
        self.student = nn.ModuleList([ViT(), Head()])
        self.teacher = copy.deepcopy(self.student)
        for parameter in self.teacher.parameters():
            parameter.requires_grad = False
        self.center = torch.zeros(1, OUTPUTS)
        self.large, self.small = view(32, (0.3, 1)), view(16, (0.1, 0.4))
        self.step, self.steps, self.per_epoch = 0, steps, per_epoch

    def loss(self, pictures):
        large = torch.cat([views(pictures, self.large) for _ in range(2)])
        small = torch.cat([views(pictures, self.small) for _ in range(2)])
        with torch.no_grad():
            teacher = self.teacher[1](self.teacher[0](large))
            targets = ((teacher - self.center) / 0.04).softmax(-1).chunk(2)
            self.center = 0.9 * self.center + 0.1 * teacher.mean(0, keepdim=True)
        features = torch.cat([self.student[0](large), self.student[0](small)])
        predictions = (self.student[1](features) / 0.1).log_softmax(-1).chunk(4)
        pairs = [-(target * prediction).sum(-1).mean() for i, target in enumerate(targets) for j, prediction in enumerate(predictions) if i != j]
        return sum(pairs) / len(pairs)

    def before(self):
        """Clips each gradient, and keeps the prototypes where they are in the first epoch."""
        if self.step < self.per_epoch:
            self.student[1].last.grad = None
        for parameter in self.student.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_((3 / (parameter.grad.norm() + 1e-6)).clamp(max=1))

    def after(self):
        momentum = 1 - 0.01 * (math.cos(math.pi * self.step / self.steps) + 1) / 2
        with torch.no_grad():
            for ours, theirs in zip(self.student.parameters(), self.teacher.parameters()):
                theirs.mul_(momentum).add_(ours, alpha=1 - momentum)
        self.step += 1

    def encode(self, x):
        self.teacher.eval()
        features = self.teacher[0](x)
        self.teacher.train()
        return features


def main():
    args = arguments(__doc__, epochs=60, batch=64)
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    method = Dino(args.steps, args.train // args.batch)
    peak = 4e-3 * args.batch / 256
    optimizer = torch.optim.AdamW(groups(list(method.student.parameters()), 0.04), lr=peak)
    run("dino", args, optimizer, peak, 4, method.loss, method.encode, method.before, method.after)


if __name__ == "__main__":
    main()
