"""noise2void (Krull, Buchholz & Jug, CVPR 2019): a network learns each pixel from those around it.

In crops of the noisy picture some pixels are replaced by random neighbours, and a U-net is trained to predict what
stood there; it cannot learn the noise, which is independent of its surroundings.  `denoise` trains on the picture
that it restores, `train` on any number of noisy pictures (Table 4).

Needs the noisy picture only, or noisy pictures with the same noise.  House, sigma 15 / 25 / 50, published in
Table 4: 32.05 / 29.20 / 25.42 dB trained on the picture itself, 33.91 / 32.10 / 28.94 on BSD with the same noise;
here 30.08 dB at sigma 25, trained on the picture itself (seed 0).
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

NEEDS = "noisy picture only"


def denoise(noisy: np.ndarray, sigma: float, seed: int = 0, **settings: float) -> np.ndarray:
    """Train on the picture itself, for `settings` of `train`; sigma is not used."""
    return restore(train([noisy], seed, **settings), noisy)


class UNet(nn.Module):
    """Two levels down and up again, for pictures scaled by mean and std."""

    def __init__(self, width: int, mean: float, std: float) -> None:
        super().__init__()
        self.mean, self.std = mean, std
        self.down = nn.ModuleList([block(1, width), block(width, 2 * width)])
        self.bottom = block(2 * width, 4 * width)
        self.up = nn.ModuleList([block(6 * width, 2 * width), block(3 * width, width)])
        self.output = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, 1, rows, columns), both multiples of 4."""
        x, passed = (x - self.mean) / self.std, []
        for layers in self.down:
            passed.append(layers(x))
            x = F.max_pool2d(passed[-1], 2)
        x = self.bottom(x)
        for layers in self.up:
            x = layers(torch.cat([F.interpolate(x, scale_factor=2), passed.pop()], 1))
        return self.output(x) * self.std + self.mean


def block(n_in: int, n_out: int) -> nn.Sequential:
    """Two convolutions."""
    first, second = nn.Conv2d(n_in, n_out, 3, padding=1), nn.Conv2d(n_out, n_out, 3, padding=1)
    return nn.Sequential(first, nn.LeakyReLU(0.1), second, nn.LeakyReLU(0.1))


def train(
    pictures: Sequence[np.ndarray],
    seed: int = 0,
    *,
    steps: int = 1500,
    width: int = 24,
    batch: int = 4,
    crop: int = 64,
    rate: float = 1e-3,
    masked: float = 0.02,
) -> UNet:
    """A U-net after `steps` of Adam on random crops, turned and mirrored, with a share `masked` of pixels hidden."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        values = np.concatenate([picture.ravel() for picture in pictures])
        net = UNet(width, float(values.mean()), float(values.std()))
    images = [torch.from_numpy(picture).float() for picture in pictures]
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1)
    for _ in range(steps):
        x = crops(images, batch, crop, generator)
        hidden = torch.rand(x.shape, generator=generator) < masked
        error = (net(torch.where(hidden, neighbours(x, generator), x)) - x)[hidden] / net.std
        optimizer.zero_grad()
        error.square().mean().backward()
        optimizer.step()
        schedule.step()
    return net


def crops(images: list[Tensor], n: int, size: int, generator: torch.Generator) -> Tensor:
    """n random crops of random images, in one of the eight ways to turn and mirror a square: (n, 1, size, size)."""
    chosen = []
    for _ in range(n):
        picture, turns, mirrored = (int(torch.randint(k, (), generator=generator)) for k in (len(images), 4, 2))
        image = images[picture]
        top, left = (int(torch.randint(length - size + 1, (), generator=generator)) for length in image.shape)
        square = image[top : top + size, left : left + size].rot90(turns)
        chosen.append(square.T if mirrored else square)
    return torch.stack(chosen)[:, None]


def neighbours(x: Tensor, generator: torch.Generator, radius: int = 2) -> Tensor:
    """x (n, 1, rows, columns) with each pixel replaced by one of those around it, not itself."""
    width = 2 * radius + 1
    around = F.unfold(F.pad(x, [radius] * 4, mode="reflect"), width)
    choice = torch.randint(1, width**2, (len(x), 1, around.shape[2]), generator=generator)
    other = (width**2 // 2 + choice) % width**2
    return around.gather(1, other).view_as(x)


@torch.no_grad()
def restore(net: UNet, noisy: np.ndarray) -> np.ndarray:
    """What the network says of a picture, of any shape."""
    x = torch.from_numpy(noisy).float()[None, None]
    rows, columns = noisy.shape
    restored = net(F.pad(x, (0, -columns % 4, 0, -rows % 4), mode="replicate"))
    return restored[0, 0, :rows, :columns].double().numpy()
