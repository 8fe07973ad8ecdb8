"""MAE by the recipe mae-cifar-vit-mini in plain PyTorch: what `npx tsx test/bench/learn.ts mae` is compared with.

    python3 test/bench/peers/mae_cifar.py data/cifar10 --steps 1248 --seed 0

Needs PyTorch, torchvision and Pillow. A ViT of 4 blocks of 128 with patches of 4 pixels, three quarters of them hidden; a decoder of one block of 64.
"""

import torch
import torchvision.transforms as T
from cifar import arguments, groups, run, views
from torch import nn

PATCH, GRID = 4, 8


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim, 1e-6), nn.LayerNorm(dim, 1e-6)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        attention = (q @ k.transpose(-2, -1) * (d // self.heads) ** -0.5).softmax(-1)
        x = x + self.proj((attention @ v).transpose(1, 2).reshape(b, n, d))
        return x + self.mlp(self.norm2(x))


def positions(dim):
    """Sines and cosines of column and row, and zeros for the class token. [1, 1 + GRID^2, dim]"""
    omega = 10000 ** -(torch.arange(dim // 4) / (dim // 4))
    place = torch.arange(GRID**2)
    angles = [axis[:, None] * omega for axis in (place % GRID, place // GRID)]
    table = torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], 1)
    return torch.cat([torch.zeros(1, dim), table])[None]


class MaskedAutoencoder(nn.Module):
    def __init__(self, dim=128, depth=4, heads=4, decoder_dim=64, decoder_depth=1, decoder_heads=2):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, dim, PATCH, PATCH)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_dim))
        self.register_buffer("pos_embed", positions(dim))
        self.register_buffer("decoder_pos_embed", positions(decoder_dim))
        self.blocks = nn.Sequential(*[Block(dim, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, 1e-6)
        self.decoder_embed = nn.Linear(dim, decoder_dim)
        self.decoder_blocks = nn.Sequential(*[Block(decoder_dim, decoder_heads) for _ in range(decoder_depth)])
        self.decoder_norm = nn.LayerNorm(decoder_dim, 1e-6)
        self.decoder_pred = nn.Linear(decoder_dim, PATCH**2 * 3)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patch_embed.weight.data.view(dim, -1))
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.normal_(self.mask_token, std=0.02)

    def encode(self, x, kept=None):
        """Class token first. x [b, 3, 32, 32], kept [b, k] -> [b, 1 + k, dim]"""
        tokens = self.patch_embed(x).flatten(2).transpose(1, 2) + self.pos_embed[:, 1:]
        if kept is not None:
            tokens = tokens.gather(1, kept[..., None].expand(-1, -1, tokens.shape[2]))
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        return self.norm(self.blocks(torch.cat([first, tokens], 1)))

    def loss(self, x):
        b, n = len(x), GRID**2
        order = torch.rand(b, n).argsort(1)
        restore, kept = order.argsort(1), order[:, : n // 4]
        y = self.decoder_embed(self.encode(x, kept))
        filled = torch.cat([y[:, 1:], self.mask_token.expand(b, n - n // 4, -1)], 1)
        tokens = filled.gather(1, restore[..., None].expand(-1, -1, y.shape[2]))
        decoded = self.decoder_blocks(torch.cat([y[:, :1], tokens], 1) + self.decoder_pos_embed)
        prediction = self.decoder_pred(self.decoder_norm(decoded))[:, 1:]
        target = x.reshape(b, 3, GRID, PATCH, GRID, PATCH).permute(0, 2, 4, 3, 5, 1).reshape(b, n, -1)
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6) ** 0.5
        hidden = restore >= n // 4
        return ((prediction - target) ** 2).mean(-1)[hidden].mean()


def main():
    args = arguments(__doc__, epochs=100, batch=128)
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    model = MaskedAutoencoder()
    crop = T.RandomResizedCrop(32, (0.2, 1), interpolation=T.InterpolationMode.BICUBIC)
    transform = T.Compose([crop, T.RandomHorizontalFlip()])
    parameters = list(model.parameters())
    peak = 4e-3 * args.batch / 256
    optimizer = torch.optim.AdamW(groups(parameters, 0.05), lr=peak, betas=(0.9, 0.95))
    run("mae", args, optimizer, peak, 10, lambda pictures: model.loss(views(pictures, transform)), lambda x: model.encode(x)[:, 1:].mean(1))


if __name__ == "__main__":
    main()
