"""Training steps in plain PyTorch, for the rows of training.ts: prints milliseconds of single steps and the process's largest resident memory.

    python3 torch_steps.py '{"method": "mae", "backbone": "vit-small-16", "size": 224, "batch": 16, "threads": 2, "seconds": 5,
        "options": {"decoderDim": 512, "decoderDepth": 8, "decoderHeads": 16}}'

`options` are the method's, of which it takes what changes the work of a step: both sides have the same sizes.
"""

import copy
import json
import resource
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim, 1e-6), nn.LayerNorm(dim, 1e-6)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        attention = (q @ k.transpose(-2, -1) * (d // self.heads) ** -0.5).softmax(-1)
        x = x + self.proj((attention @ v).transpose(1, 2).reshape(b, n, d))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


VITS = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12)}


class ViT(nn.Module):
    def __init__(self, name, size):
        super().__init__()
        _, width, patch = name.split("-")
        self.dim, depth, heads = VITS[width]
        self.patch, self.grid = int(patch), size // int(patch)
        self.embed = nn.Conv2d(3, self.dim, self.patch, self.patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, self.dim))
        self.positions = nn.Parameter(torch.randn(1, 1 + self.grid**2, self.dim) * 0.02)
        self.blocks = nn.Sequential(*[Block(self.dim, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(self.dim, 1e-6)

    def table(self, side):
        if side == self.grid:
            return self.positions
        grid = self.positions[:, 1:].reshape(1, self.grid, self.grid, self.dim).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
        return torch.cat([self.positions[:, :1], grid.flatten(2).transpose(1, 2)], 1)

    def forward(self, x):
        patches = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls.expand(len(x), -1, -1), patches], 1) + self.table(x.shape[-1] // self.patch)
        return self.norm(self.blocks(tokens)[:, 0])


def resnet18(name):
    from torchvision.models import resnet18 as make

    net = make(num_classes=1)
    width = net.fc.in_features
    net.fc = nn.Identity()
    if "cifar" in name:
        net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return net.to(memory_format=torch.channels_last), width


def simclr(job):
    net, width = resnet18(job["backbone"])
    dim, depth = job["options"]["dim"], job["options"]["layers"]
    inner = [layer for _ in range(depth - 1) for layer in (nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU())]
    head = nn.Sequential(*inner, nn.Linear(width, dim), nn.BatchNorm1d(dim))
    optimizer = torch.optim.SGD([*net.parameters(), *head.parameters()], lr=0.1, momentum=0.9, weight_decay=1e-4)
    b, side = job["batch"], job["size"]
    x = torch.rand(2 * b, 3, side, side).contiguous(memory_format=torch.channels_last)
    labels = torch.cat([torch.arange(b, 2 * b), torch.arange(b)])

    def step():
        z = F.normalize(head(net(x)))
        loss = F.cross_entropy((z @ z.T / 0.1).fill_diagonal_(-1e9), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


class DinoHead(nn.Module):
    def __init__(self, dim, outputs, hidden, bottleneck):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck))
        self.last = nn.utils.weight_norm(nn.Linear(bottleneck, outputs, bias=False))

    def forward(self, x):
        return self.last(F.normalize(self.mlp(x)))


def dino(job):
    options, outputs = job["options"], job["options"]["outputs"]

    def network():
        vit = ViT(job["backbone"], job["size"])
        return nn.ModuleList([vit, DinoHead(vit.dim, outputs, options["hidden"], options["bottleneck"])])

    student, teacher = network(), network()
    teacher.load_state_dict(student.state_dict())
    optimizer = torch.optim.AdamW(student.parameters(), lr=5e-4)
    b, locals_, local_size = job["batch"], options["locals"], options["localSize"]
    large = torch.rand(2 * b, 3, job["size"], job["size"])
    small = torch.rand(locals_ * b, 3, local_size, local_size)
    center = torch.zeros(1, outputs)

    def step():
        with torch.no_grad():
            t = teacher[1](teacher[0](large))
            targets = ((t - center) / 0.04).softmax(-1).chunk(2)
            center.mul_(0.9).add_(t.mean(0, keepdim=True), alpha=0.1)
        s = (student[1](torch.cat([student[0](large), student[0](small)])) / 0.1).log_softmax(-1).chunk(2 + locals_)
        pairs = [-(t * p).sum(-1).mean() for i, t in enumerate(targets) for v, p in enumerate(s) if v != i]
        loss = sum(pairs) / len(pairs)
        optimizer.zero_grad()
        loss.backward()
        for p in student.parameters():
            torch.nn.utils.clip_grad_norm_([p], 3)
        optimizer.step()
        with torch.no_grad():
            for p, q in zip(teacher.parameters(), student.parameters()):
                p.mul_(0.996).add_(q, alpha=0.004)

    return step


class MaskedAutoencoder(nn.Module):
    def __init__(self, name, size, dim, depth, heads):
        super().__init__()
        self.encoder = ViT(name, size)
        n = self.encoder.grid**2
        self.embed = nn.Linear(self.encoder.dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.positions = nn.Parameter(torch.randn(1, 1 + n, dim) * 0.02, requires_grad=False)
        self.blocks = nn.Sequential(*[Block(dim, heads) for _ in range(depth)])
        self.norm, self.prediction = nn.LayerNorm(dim, 1e-6), nn.Linear(dim, self.encoder.patch**2 * 3)

    def forward(self, x):
        e, b = self.encoder, len(x)
        n = e.grid**2
        order = torch.rand(b, n).argsort(1)
        kept, restore = order[:, : n // 4], order.argsort(1)
        tokens = e.embed(x).flatten(2).transpose(1, 2) + e.positions[:, 1:]
        tokens = tokens.gather(1, kept[..., None].expand(-1, -1, e.dim))
        y = self.embed(e.norm(e.blocks(torch.cat([(e.cls + e.positions[:, :1]).expand(b, -1, -1), tokens], 1))))
        filled = torch.cat([y[:, 1:], self.mask_token.expand(b, n - n // 4, -1)], 1)
        filled = filled.gather(1, restore[..., None].expand(-1, -1, filled.shape[-1]))
        decoded = self.prediction(self.norm(self.blocks(torch.cat([y[:, :1], filled], 1) + self.positions)))[:, 1:]
        target = x.reshape(b, 3, e.grid, e.patch, e.grid, e.patch).permute(0, 2, 4, 3, 5, 1).reshape(b, n, -1)
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
        mask = (restore >= n // 4).float()
        return (((decoded - target) ** 2).mean(-1) * mask).sum() / mask.sum()


def mae(job):
    options = job["options"]
    net = MaskedAutoencoder(job["backbone"], job["size"], options["decoderDim"], options["decoderDepth"], options["decoderHeads"])
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-3)
    x = torch.rand(job["batch"], 3, job["size"], job["size"])

    def step():
        loss = net(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def main():
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    step = {"simclr": simclr, "dino": dino, "mae": mae}[job["method"]](job)
    step()  # warms up
    times, begin = [], time.perf_counter()
    end = begin + job["seconds"]
    while begin < end:
        step()
        now = time.perf_counter()
        times.append(1000 * (now - begin))
        begin = now
    print(json.dumps({"times": times, "peakBytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))


main()
