"""PyTorch on a GPU: reads a line of JSON for a request and answers with one. The first prepares a job, the others run it.

    echo '{"device": "cuda", "job": {"op": "matmul", "m": 4096, "k": 4096, "n": 4096}}' | python3 torch_gpu.py

Eager, float32 without TF32; with "precision": "f16" products of half-precision tensors, and layers under autocast. A run ends when the GPU is
done. Jobs: "matmul", "conv", "block" (a transformer block with gradients) and "dino" (a training step of DINO with ViT-S/16).
"""

import json
import math
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False
torch.backends.cudnn.benchmark = True


def halves(job):
    return job.get("precision") == "f16"


def autocast(job, device):
    return torch.autocast(device, torch.float16, enabled=halves(job))


def matmul(job, device):
    kind = {"device": device, "dtype": torch.float16 if halves(job) else torch.float32}
    a = torch.rand(*((job["k"], job["m"]) if job.get("ta") else (job["m"], job["k"])), **kind)
    b = torch.rand(*((job["n"], job["k"]) if job.get("tb") else (job["k"], job["n"])), **kind)
    a, b = a.T if job.get("ta") else a, b.T if job.get("tb") else b
    return lambda: a @ b


def conv(job, device):
    def tensor(*shape):
        kind = torch.float16 if halves(job) else torch.float32
        return torch.rand(*shape, device=device).to(kind, memory_format=torch.channels_last)

    images = tensor(job["batch"], job["inputs"], job["side"], job["side"])
    weight = tensor(job["outputs"], job["inputs"], job["kernel"], job["kernel"])
    return lambda: F.conv2d(images, weight, stride=job["stride"], padding=(job["kernel"] - 1) // 2)


class Block(nn.Module):
    def __init__(self, dim, heads, drop_path=0.0):
        super().__init__()
        self.heads, self.drop_path = heads, drop_path
        self.norm1, self.norm2 = nn.LayerNorm(dim, 1e-6), nn.LayerNorm(dim, 1e-6)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def attention(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        if hasattr(F, "scaled_dot_product_attention"):
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = (q @ k.transpose(-1, -2) / math.sqrt(d // self.heads)).softmax(-1) @ v
        return self.proj(y.transpose(1, 2).reshape(b, n, d))

    def drop(self, x):
        if not self.drop_path or not self.training:
            return x
        keep = 1 - self.drop_path
        return x * torch.empty(len(x), 1, 1, device=x.device).bernoulli_(keep) / keep

    def forward(self, x):
        x = x + self.drop(self.attention(self.norm1(x)))
        return x + self.drop(self.mlp(self.norm2(x)))


def block(job, device):
    model = Block(job["dim"], job["heads"]).to(device)
    x = torch.rand(job["batch"], job["tokens"], job["dim"], device=device, requires_grad=True)
    cotangent = torch.rand_like(x)

    def run():
        with autocast(job, device):
            y = model(x)
        return torch.autograd.grad((y * cotangent).sum(), [x, *model.parameters()])

    return run


class ViT(nn.Module):
    def __init__(self, dim=384, depth=12, heads=6, patch=16, side=14, drop_path=0.0):
        super().__init__()
        self.patch = nn.Conv2d(3, dim, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, dim))
        self.positions = nn.Parameter(torch.randn(1, side * side, dim) * 0.02)
        self.position = nn.Parameter(torch.zeros(1, 1, dim))
        self.blocks = nn.Sequential(*[Block(dim, heads, drop_path * i / (depth - 1)) for i in range(depth)])
        self.norm = nn.LayerNorm(dim, 1e-6)

    def forward(self, images):
        x = self.patch(images)
        side, old = x.shape[-1], math.isqrt(self.positions.shape[1])
        positions = self.positions
        if side != old:
            grid = positions.reshape(1, old, old, -1).permute(0, 3, 1, 2)
            positions = F.interpolate(grid, size=(side, side), mode="bicubic").flatten(2).transpose(1, 2)
        x = x.flatten(2).transpose(1, 2) + positions
        x = torch.cat([(self.token + self.position).expand(len(x), -1, -1), x], 1)
        return self.norm(self.blocks(x))[:, 0]


class Head(nn.Module):
    def __init__(self, dim, outputs, hidden=2048, bottleneck=256):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck))
        self.last = nn.Parameter(torch.randn(outputs, bottleneck) * 0.02)

    def forward(self, x):
        return F.linear(F.normalize(self.mlp(x)), F.normalize(self.last))


def dino(job, device):
    """Two views of 224 pixels, eight of 96; images come from pinned memory, as a loader gives them."""
    batch, outputs = job["batch"], job["outputs"]
    student = nn.ModuleList([ViT(drop_path=0.1), Head(384, outputs)]).to(device).train()
    teacher = nn.ModuleList([ViT(), Head(384, outputs)]).to(device).requires_grad_(False)
    teacher.load_state_dict(student.state_dict())
    vectors = [p for p in student.parameters() if p.dim() < 2]
    matrices = [p for p in student.parameters() if p.dim() >= 2]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.04}, {"params": vectors, "weight_decay": 0.0}], lr=1e-4)
    center = torch.zeros(1, outputs, device=device)
    scaler = torch.amp.GradScaler(device, enabled=halves(job)) if hasattr(torch.amp, "GradScaler") else torch.cuda.amp.GradScaler(enabled=halves(job))
    host = [torch.randn(batch, 3, side, side) for side in [224] * 2 + [96] * 8]
    host = [view.pin_memory() for view in host] if device == "cuda" else host

    def run():
        views = [view.to(device, non_blocking=True) for view in host]
        large, small = torch.cat(views[:2]), torch.cat(views[2:])
        with torch.no_grad():
            with autocast(job, device):
                t = teacher[1](teacher[0](large))
            t = t.float()
            targets = ((t - center) / 0.04).softmax(-1).chunk(2)
            center.mul_(0.9).add_(t.mean(0, keepdim=True), alpha=0.1)
        with autocast(job, device):
            outputs = student[1](torch.cat([student[0](large), student[0](small)]))
        predictions = outputs.float().div(0.1).log_softmax(-1).chunk(10)
        pairs = [-(q * p).sum(-1).mean() for i, q in enumerate(targets) for j, p in enumerate(predictions) if i != j]
        loss = sum(pairs) / len(pairs)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        for p in student.parameters():
            nn.utils.clip_grad_norm_([p], 3.0)
        scaler.step(optimizer)
        scaler.update()
        with torch.no_grad():
            for slow, fast in zip(teacher.parameters(), student.parameters()):
                slow.mul_(0.996).add_(fast, alpha=0.004)
        return loss.item()

    return run


def main():
    run = device = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "job" in request:
                device = request["device"]
                if device == "cuda" and not torch.cuda.is_available():
                    raise RuntimeError("its PyTorch sees no CUDA device")
                run = {"matmul": matmul, "conv": conv, "block": block, "dino": dino}[request["job"]["op"]](request["job"], device)
                run()
                name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
                reply = {"name": f"PyTorch {torch.__version__} on {name}"}
            else:
                times, begin = [], time.perf_counter()
                end = begin + request["stretchMs"] / 1000
                while begin < end:
                    run()
                    if device == "cuda":
                        torch.cuda.synchronize()
                    now = time.perf_counter()
                    times.append(1000 * (now - begin))
                    begin = now
                reply = {"times": times}
        except Exception as error:  # goes to whoever asked
            reply = {"error": str(error)}
        print(json.dumps(reply), flush=True)


main()
