"""PyTorch on the products of the benchmark: reads a line of JSON for a request and answers with one. Tensors pass as files of float32."""

import json
import math
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F


def load(entry):
    return torch.from_numpy(np.fromfile(entry["file"], dtype=np.float32).reshape(entry["shape"]))


def matmul(job, a, b):
    with torch.no_grad():
        a = a.transpose(-1, -2) if job.get("ta") else a
        b = b.transpose(-1, -2) if job.get("tb") else b
        return lambda: torch.matmul(a, b)


def conv(job, a, b):
    images = a.permute(0, 3, 1, 2).contiguous()
    weight = b.permute(0, 3, 1, 2).contiguous()
    return lambda: F.conv2d(images, weight, stride=job["stride"], padding=(job["kernel"] - 1) // 2).permute(0, 2, 3, 1)


def block(job, x, cotangent, **w):
    """The gradient of x, the parameters' beside it, of sum(block(x) * cotangent)."""
    batch, tokens, dim, heads = job["batch"], job["tokens"], job["dim"], job["heads"]
    leaves = [t.requires_grad_() for t in [x, *w.values()]]

    def norm(t, name):
        return F.layer_norm(t, (dim,), w[name + ".weight"], w[name + ".bias"], 1e-6)

    def linear(t, name):
        return F.linear(t, w[name + ".weight"], w[name + ".bias"])

    def attention(t):
        q, k, v = linear(t, "attn.qkv").reshape(batch, tokens, 3, heads, dim // heads).permute(2, 0, 3, 1, 4)
        scores = (q @ k.transpose(-1, -2) / math.sqrt(dim // heads)).softmax(-1)
        return linear((scores @ v).transpose(1, 2).reshape(batch, tokens, dim), "attn.proj")

    def run():
        y = x + attention(norm(x, "norm1"))
        y = y + linear(F.gelu(linear(norm(y, "norm2"), "mlp.fc1")), "mlp.fc2")
        return torch.autograd.grad((y * cotangent).sum(), leaves)[0]

    return run


def main():
    run = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "job" in request:
                torch.set_num_threads(request["threads"])
                job = request["job"]
                if job["op"] == "network":
                    raise ValueError("it reads no ONNX")
                run = {"matmul": matmul, "conv": conv, "block": block}[job["op"]](job, **{k: load(v) for k, v in request["tensors"].items()})
                run().detach().contiguous().numpy().tofile(request["result"])
                reply = {"result": request["result"]}
            else:
                times, begin = [], time.perf_counter()
                end = begin + request["stretchMs"] / 1000
                while begin < end:
                    run()
                    now = time.perf_counter()
                    times.append(1000 * (now - begin))
                    begin = now
                reply = {"times": times}
        except Exception as error:  # goes to whoever asked
            reply = {"error": str(error)}
        print(json.dumps(reply), flush=True)


main()
