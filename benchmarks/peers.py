"""Training on MNIST for equal wall-clock time: this package beside three public ones.

    python -m pip install denoising-diffusion-pytorch smalldiffusion
    python benchmarks/peers.py [--seconds 60 300] [--samples 500] [--evaluations 20] [--only ours diffusers]

Every package is a process of its own with the machine to itself. It trains for the given seconds, not counting imports
and the reading of data, and then draws the same number of samples with the same number of network evaluations. Ours is
trained anew for each time, because its learning rate falls towards the end; the others go on. The judge of chapter 5
scores them all: the Fréchet distance of classifier features to MNIST's test images. Its floor is what as many training
images score. Packages are set up as their own examples do it:

- diffusers: the U-Net of Hugging Face's diffusion course, unit 1 (1.7 M parameters, DDPM, batch 128, Adam 1e-3).
- denoising-diffusion-pytorch: the U-Net and trainer of its README (dim 64, batch 32, Adam 8e-5, EMA 0.995), one
  channel, digits padded to 32x32 because its U-Net halves the side three times.
- smalldiffusion: its Fashion-MNIST example (ch 64, DDPM schedule, AdamW 7e-4), but with batches of 128: of its own
  1,024 a laptop's processor would see a handful in five minutes. EMA 0.99.
- ours: chapter 5 with as many steps as fit the time; guided, at most two evaluations a step.

Needs MNIST on disk; DIFFUSION_LAB_DATA says where.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import diffusion_lab  # noqa: F401 - before torch, whose threads it keeps from spinning long

# isort: split
import torch
from torch import Tensor
from torch.nn import functional as F

from diffusion_lab.chapters import get
from diffusion_lab.data import load
from diffusion_lab.networks import count_parameters

Step = Callable[[], float]
Sample = Callable[[int, int], Tensor]


def batches(images: Tensor, size: int) -> Callable[[], Tensor]:
    """A function that draws a batch at random."""
    generator = torch.Generator().manual_seed(0)
    return lambda: images[torch.randint(len(images), (size,), generator=generator)]


class Diffusers:
    """`UNet2DModel` as the Hugging Face diffusion course has it."""

    batch = 128

    def __init__(self, images: Tensor):
        from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel

        self.network = UNet2DModel(
            sample_size=28,
            in_channels=1,
            out_channels=1,
            layers_per_block=2,
            block_out_channels=(32, 64, 64),
            down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        )
        self.noising = DDPMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")
        self.scheduler = DDIMScheduler.from_config(self.noising.config)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-3)
        self.draw = batches(images, self.batch)

    def step(self) -> None:
        x0 = self.draw()
        noise, times = torch.randn_like(x0), torch.randint(0, 1000, (len(x0),))
        output = self.network(self.noising.add_noise(x0, noise, times), times).sample
        F.mse_loss(output, noise).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def sample(self, n: int, evaluations: int) -> Tensor:
        self.scheduler.set_timesteps(evaluations)
        x = torch.randn(n, 1, 28, 28)
        for t in self.scheduler.timesteps:
            x = self.scheduler.step(self.network(x, t).sample, t, x).prev_sample
        return x


class DenoisingDiffusionPytorch:
    """The U-Net, the diffusion and the trainer's settings of the package's README."""

    batch = 32

    def __init__(self, images: Tensor):
        from denoising_diffusion_pytorch import GaussianDiffusion, Unet
        from ema_pytorch import EMA

        self.network = Unet(dim=64, dim_mults=(1, 2, 4, 8), channels=1, flash_attn=False)
        self.diffusion = GaussianDiffusion(self.network, image_size=32, timesteps=1000)
        self.average = EMA(self.diffusion, beta=0.995, update_every=10)
        self.optimizer = torch.optim.Adam(self.diffusion.parameters(), lr=8e-5, betas=(0.9, 0.99))
        self.draw = batches(F.pad((images + 1) / 2, (2, 2, 2, 2)), self.batch)

    def step(self) -> None:
        self.diffusion(self.draw()).backward()
        torch.nn.utils.clip_grad_norm_(self.diffusion.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update()

    def sample(self, n: int, evaluations: int) -> Tensor:
        averaged = self.average.ema_model
        averaged.sampling_timesteps, averaged.is_ddim_sampling = evaluations, True
        return averaged.sample(batch_size=n)[..., 2:-2, 2:-2] * 2 - 1


class SmallDiffusion:
    """The U-Net and the schedule of the package's Fashion-MNIST example."""

    batch = 128

    def __init__(self, images: Tensor):
        import smalldiffusion
        from ema_pytorch import EMA

        self.package = smalldiffusion
        self.schedule = smalldiffusion.ScheduleDDPM(N=1000, beta_start=0.0001, beta_end=0.02)
        self.network = smalldiffusion.Scaled(smalldiffusion.Unet)(
            28, 1, 1, ch=64, ch_mult=(1, 1, 2), attn_resolutions=(14,)
        )
        self.average = EMA(self.network, beta=0.99, update_every=1, update_after_step=0)
        draw = batches(images, self.batch)
        self.loop = smalldiffusion.training_loop(_Endless(draw), self.network, self.schedule, epochs=1, lr=7e-4)

    def step(self) -> None:
        next(self.loop)
        self.average.update()

    def sample(self, n: int, evaluations: int) -> Tensor:
        sigmas = self.schedule.sample_sigmas(evaluations)
        *_, x0 = self.package.samples(self.average.ema_model, sigmas, gam=1.6, batchsize=n)
        return x0


class _Endless(torch.utils.data.IterableDataset):
    """Batches without end."""

    def __init__(self, draw: Callable[[], Tensor]):
        self.draw = draw

    def __iter__(self):
        while True:
            yield self.draw()


PEERS = {
    "diffusers": Diffusers,
    "denoising-diffusion-pytorch": DenoisingDiffusionPytorch,
    "smalldiffusion": SmallDiffusion,
}
BLOCK = 100
"""Samples drawn at once by the peers; their activations are large."""


def train_peer(name: str, seconds: list[float], samples: int, evaluations: int) -> Iterator[tuple[Tensor, dict]]:
    """Train another package, and draw samples in [-1, 1] after each of these times, off the clock."""
    torch.manual_seed(0)
    peer = PEERS[name](load("mnist", source="real").train)
    trained, steps, memory = 0.0, 0, None
    for mark in sorted(seconds):
        began = time.perf_counter() - trained
        while trained < mark:
            peer.step()
            steps += 1
            trained = time.perf_counter() - began
        memory = memory or peak_memory()  # of training alone
        about = {
            "parameters": count_parameters(peer.network),
            "seconds": trained,
            "images": steps * peer.batch,
            "memory": memory,
        }
        with torch.no_grad():
            drawn = torch.cat([peer.sample(min(BLOCK, samples - i), evaluations) for i in range(0, samples, BLOCK)])
        yield drawn.clamp(-1, 1), about


class Enough(Exception):
    """Raised to stop a run whose speed is known."""


def train_ours(seconds: float, samples: int, evaluations: int) -> tuple[Tensor, dict]:
    """Chapter 5 for so long: its speed is measured first, because its learning rate falls with the share of steps."""
    from diffusion_lab import run_chapter

    budget = get("mnist").budgets["full" if seconds > 120 else "quick"].training
    probe, times, memory = 60, [], []

    def until_known(what: str, done: int, total: int) -> None:
        if what == "training":
            times.append(time.perf_counter())
            if done == probe:
                raise Enough

    with contextlib.suppress(Enough):
        run_chapter("mnist", source="real", budget="full", training=budget, on_step=until_known)
    each = (times[-1] - times[9]) / (probe - 10)
    steps = int(seconds / each)
    times.clear()

    def watched(what: str, done: int, total: int) -> None:
        if what == "training":
            times.append(time.perf_counter())
            if done == total:
                memory.append(peak_memory())

    report = run_chapter("mnist", source="real", budget="full", training=replace(budget, steps=steps), on_step=watched)
    own = report.scores[0]
    return report.experiment.draw(samples, evaluations // 2), {
        "parameters": report.parameters,
        "seconds": (times[-1] - times[0]) * steps / (steps - 1),
        "images": steps * budget.batch,
        "memory": memory[0],
        "report": {
            "samples": report.samples_drawn,
            "evaluations": report.evaluations,
            "value": own.value,
            "floor": own.floor,
        },
    }


def peak_memory() -> float:
    """GiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 2**30


def in_process(name: str, arguments: argparse.Namespace, folder: Path) -> list[tuple[Tensor, dict]]:
    """What `--worker` leaves behind, for each of the times."""
    command = [sys.executable, __file__, "--worker", name, "--into", str(folder)]
    command += ["--samples", str(arguments.samples), "--evaluations", str(arguments.evaluations)]
    command += ["--seconds", *map(str, arguments.seconds)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    times = range(len(arguments.seconds))
    return [(torch.load(folder / f"{i}.pt"), json.loads((folder / f"{i}.json").read_text())) for i in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, nargs="+", default=[60, 300])
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--evaluations", type=int, default=20)
    parser.add_argument("--only", nargs="+", choices=["ours", *PEERS], default=["ours", *PEERS])
    parser.add_argument("--worker", choices=["ours", *PEERS], help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.seconds.sort()
    if arguments.worker:
        job = (arguments.samples, arguments.evaluations)
        if arguments.worker == "ours":
            results = (train_ours(seconds, *job) for seconds in arguments.seconds)
        else:
            results = train_peer(arguments.worker, arguments.seconds, *job)
        for i, (drawn, about) in enumerate(results):
            torch.save(drawn, arguments.into / f"{i}.pt")
            (arguments.into / f"{i}.json").write_text(json.dumps(about))
        return

    from diffusion_lab import open_checkpoint
    from diffusion_lab.chapters.images import judge_of
    from diffusion_lab.metrics import frechet_distance

    experiment = open_checkpoint(name="mnist", source="real")
    experiment.budget = get("mnist").budgets["full"]
    judge = judge_of(experiment, crop=2, flip=False)
    test = judge.features(experiment.dataset.test)
    train = experiment.dataset.train
    rows = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[: arguments.samples]
    floor = frechet_distance(judge.features(train[rows]), test)

    print(f"{torch.get_num_threads()} threads; {arguments.samples} samples, {arguments.evaluations} evaluations each")
    print(f"as many real images: {floor:.2f}\n")
    print(
        "| package | parameters, M | seconds | images/s | memory, GiB | Fréchet distance | of ours | images/s of ours |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    details, ours = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.only:
            for i, (drawn, about) in enumerate(in_process(name, arguments, Path(folder))):
                distance = frechet_distance(judge.features(drawn), test)
                rate = about["images"] / about["seconds"]
                if len(ours) == i:  # the first package that is asked for
                    ours.append((distance, rate))
                ratios = f"{distance / ours[i][0]:.1f} | {rate / ours[i][1]:.3f}"
                print(
                    f"| {name} | {about['parameters'] / 1e6:.2f} | {about['seconds']:.0f} | {rate:,.0f} "
                    f"| {about['memory']:.1f} | {distance:.1f} | {ratios} |",
                    flush=True,
                )
                if "report" in about:
                    details.append((arguments.seconds[i], about["report"]))
    for seconds, report in details:
        print(
            f"\nours after {seconds:.0f} s, {report['samples']} samples of {report['evaluations']} evaluations: "
            f"{report['value']:.2f}, {report['value'] / report['floor']:.1f} times the floor {report['floor']:.2f}"
        )


if __name__ == "__main__":
    main()
