"""Chapter 1's lab: a network, a training step and a sampling loop, and with them a model of one's own."""

from diffusion_lab.exercises.checks import INTRODUCTION
from diffusion_lab.exercises.normal_1d import (
    bug,
    check_ddpm_step,
    derivation,
    own_number,
    sampling_loop,
    tiny_denoiser,
    train_step,
)
from diffusion_lab.exercises.record import Notebook

RECALL = f"""
The chapter's first notebook had you write the formulas. This one has you write what runs them: a network, one step of
training, and the loop that draws samples. At the end these are some sixty lines of your own, and they train and sample
with PyTorch alone.

1. `tiny_denoiser`: builds a small network that is told the time.
2. `train_step`: moves its weights once, and lets an average of them follow.
3. `sampling_loop`: walks from pure noise to data.

{INTRODUCTION}
"""

CLOSING = r"""
Now put them together. The cell below uses your three functions and nothing from `diffusion_lab`. It trains for some
seconds, and draws your samples beside the density of the data. Look at two things: the loss does not go to zero, but to
the dashed floor, which is the loss of the perfect network; and the samples, mean 1.5 and standard deviation 0.5.
"""

FINALE = """
import copy

import matplotlib.pyplot as plt

torch.manual_seed(0)
betas = torch.linspace(1e-4, 0.02, 1000)
alpha_bar = torch.cumprod(1 - betas, dim=0)
data = 1.5 + 0.5 * torch.randn(20_000, 1)

network = tiny_denoiser(1, 64)
average = copy.deepcopy(network)
optimizer = torch.optim.Adam(network.parameters(), lr=0.002)
losses = []
for _ in range(3000):
    x0 = data[torch.randint(len(data), (512,))]
    t = torch.randint(1000, (512,))
    losses.append(float(train_step(network, average, optimizer, x0, torch.randn_like(x0), t, alpha_bar, 0.995)))
samples = sampling_loop(average, torch.randn(2000, 1), betas, torch.randn(1000, 2000, 1))
print(f"samples: mean {samples.mean():.3f}, standard deviation {samples.std():.3f}")

floor = (alpha_bar * 0.25 / (alpha_bar * 0.25 + 1 - alpha_bar)).mean()
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5))
left.plot(losses, linewidth=0.5)
left.axhline(floor, color="black", linestyle="--", label="floor")
left.set(xlabel="training step", ylabel="loss", ylim=(0, 1))
left.legend()
grid = torch.linspace(-0.5, 3.5, 200)
right.hist(samples[:, 0].numpy(), bins=50, density=True, alpha=0.5, label="your samples")
right.plot(grid, torch.distributions.Normal(1.5, 0.5).log_prob(grid).exp(), color="black", label="density of the data")
right.set(xlabel="x")
right.legend()
plt.show()
""".strip()

LAB = Notebook(
    chapter="normal_1d",
    name="normal_1d_lab",
    recall=RECALL,
    exercises=(
        own_number.TASK,
        derivation.TASK,
        tiny_denoiser.EXERCISE,
        train_step.EXERCISE,
        sampling_loop.EXERCISE,
        check_ddpm_step.TASK,
        bug.TASK,
    ),
    pause=check_ddpm_step.TASK.name,
    closing=CLOSING,
    finale=FINALE,
)
