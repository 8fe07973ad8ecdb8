"""SimCLR by the recipe simclr-cifar-r18-quarter in plain PyTorch: what `npx tsx test/bench/learn.ts simclr` is compared with.

    python3 test/bench/peers/simclr_cifar.py data/cifar10 --steps 1248 --seed 0

Needs PyTorch, torchvision and Pillow. The network is torchvision's ResNet-18 with a 3 x 3 stem and a quarter of the width.
"""

import torch
import torch.nn.functional as F
import torchvision.transforms as T
from cifar import arguments, groups, run, views
from torch import nn


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


def resnet18(width):
    base = int(64 * width)
    layers, inputs = [nn.Conv2d(3, base, 3, 1, 1, bias=False), nn.BatchNorm2d(base), nn.ReLU()], base
    for stage in range(4):
        for block in range(2):
            layers.append(Block(inputs, base << stage, 2 if stage and not block else 1))
            inputs = base << stage
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network, inputs


class Head(nn.Sequential):
    """Two layers without biases; the last norm has a scale and no shift."""

    def __init__(self, width, dim):
        last = nn.BatchNorm1d(dim)
        last.bias.requires_grad_(False)
        super().__init__(nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, dim, bias=False), last)
        for layer in (self[0], self[3]):
            nn.init.normal_(layer.weight, std=0.01)


def nt_xent(z, temperature):
    """Sum of both directions: twice the mean over all anchors."""
    z = F.normalize(z)
    logits = (z @ z.T / temperature).fill_diagonal_(-1e9)
    partner = torch.arange(len(z)).roll(len(z) // 2)
    return 2 * F.cross_entropy(logits, partner)


def main():
    args = arguments(__doc__, epochs=100, batch=128)
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    encoder, width = resnet18(0.25)
    head = Head(width, 128)
    encoder.to(memory_format=torch.channels_last)
    colour = T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8)
    transform = T.Compose([T.RandomResizedCrop(32, (0.2, 1)), T.RandomHorizontalFlip(), colour, T.RandomGrayscale(0.2)])
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(groups(parameters, 5e-4), lr=0.0)

    def loss_of(pictures):
        encoder.train()
        x = torch.cat([views(pictures, transform), views(pictures, transform)])
        return nt_xent(head(encoder(x)), 0.2)

    run("simclr", args, optimizer, 4e-3 * args.batch / 256, 5, loss_of, lambda x: encoder.eval()(x))


if __name__ == "__main__":
    main()
