"""The lab of chapter 5: its second notebook."""

from diffusion_lab.exercises.checks import INTRODUCTION
from diffusion_lab.exercises.mnist import bug, check_guided_eps, conv_denoiser, derivation, own_number
from diffusion_lab.exercises.record import Notebook

RECALL = f"""
This lab belongs to chapter 5, in which a label guides the samples. It starts with what guidance makes of a number, and
with a network for images, `conv_denoiser`, which the last cell trains.

{INTRODUCTION}
"""

CLOSING = r"""
Now train your network. The cell below uses it and nothing from `diffusion_lab`: 1,500 digits of 8x8 pixels, a loss on
$v$ as in this chapter, an average of the weights, and a sampler of 50 steps without noise. It takes about a minute.

Look at two things. You can read most of your samples, though nobody has told the network which digits there are. And
the last row begins with images twice as large, drawn by the same weights: a convolution does not care how large an
image is. What it has learned about strokes is still there, but it has never seen a digit of that size.
"""

FINALE = """
import copy
from itertools import pairwise

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

torch.manual_seed(0)
images = torch.tensor(load_digits().images[:1500], dtype=torch.float32)[:, None] / 8 - 1  # from -1 to 1
network = conv_denoiser(32)
average = copy.deepcopy(network).requires_grad_(False)
optimizer = torch.optim.Adam(network.parameters(), lr=0.002)


def factors(time):
    angle = time[:, None, None, None] * math.pi / 2
    return angle.cos(), angle.sin()


for _ in range(1500):
    x0 = images[torch.randint(len(images), (128,))]
    noise, time = torch.randn_like(x0), 0.999 * (torch.arange(128) + torch.rand(128)) / 128 + 0.001
    alpha, sigma = factors(time)
    loss = (network(alpha * x0 + sigma * noise, time) - (alpha * noise - sigma * x0)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for old, new in zip(average.parameters(), network.parameters(), strict=True):
            old.lerp_(new, 0.005)


@torch.no_grad()
def drawn(count, side):
    x, times = torch.randn(count, 1, side, side), torch.linspace(1, 0, 51)
    for now, after in pairwise(times):
        alpha, sigma = factors(now.expand(count))
        v = average(x, now.expand(count))
        x0 = (alpha * x - sigma * v).clamp(-1, 1)
        noise = (x - alpha * x0) / sigma
        alpha, sigma = factors(after.expand(count))
        x = alpha * x0 + sigma * noise
    return x


print(f"loss of the last batch: {loss:.3f}")
samples, large = drawn(36, 8), drawn(6, 16)
figure, axes = plt.subplots(4, 12, figsize=(12, 4))
for place, image in zip(axes.flat, [*samples, *large, *images[:6]], strict=True):
    place.imshow(image[0].numpy(), cmap="gray", vmin=-1, vmax=1)
    place.axis("off")
figure.suptitle("your samples; in the last row, larger ones, and digits of the data")
plt.show()
""".strip()

LAB = Notebook(
    chapter="mnist",
    name="mnist_lab",
    recall=RECALL,
    exercises=(own_number.TASK, derivation.TASK, conv_denoiser.EXERCISE, check_guided_eps.TASK, bug.TASK),
    pause=check_guided_eps.TASK.name,
    closing=CLOSING,
    finale=FINALE,
)
