"""Chapter 5: handwritten digits. A U-Net, class labels, classifier-free guidance."""

from __future__ import annotations

from dataclasses import replace

from diffusion_lab import samplers, schedules, targets, times
from diffusion_lab.chapters.chapter import Budget, Chapter
from diffusion_lab.chapters.images import Thresholds, image_scores, own_images
from diffusion_lab.chapters.readiness import require_images
from diffusion_lab.data import Dataset, load
from diffusion_lab.denoisers import clip
from diffusion_lab.exact import FiniteSet
from diffusion_lab.schedules import Schedule
from diffusion_lab.train import Settings


def schedule_of(dataset: Dataset) -> Schedule:
    """Cosine, sampled evenly in log-SNR. Half of the training times are drawn around a log-SNR of -0.6.

    There strokes form. Short trainings gain by it: at equal seconds 2.5 where even times had 3.0.
    """
    whole = schedules.cosine()
    density = times.mixed_density(times.log_normal_density(0.3, 1.2), whole.density)
    return replace(whole, density=density, spacing=times.log_snr_spacing)


CHAPTER = Chapter(
    number=5,
    name="mnist",
    title="MNIST digits",
    method="cosine, v, DPM-Solver++(2M) even in log-SNR, classifier-free guidance in an interval",
    load=lambda source, root, seed: load("mnist", source=source, root=root, seed=seed),
    # Exact for the training images and nothing else: on held-out ones the network, which generalises, is nearer.
    exact=lambda dataset: FiniteSet(dataset.train),
    schedule=schedule_of,
    target=targets.v,
    # With guidance in the middle alone, 15 such steps are as near to real digits as 30 of DDIM guided everywhere.
    step=lambda dataset: samplers.dpmpp_2m(),
    network={"width": 32},
    labelled=True,
    drop_labels=0.1,
    guidance=1.5,
    guidance_interval=(0.3, 0.8),
    polish=lambda dataset: clip,
    precision="bfloat16",
    require=require_images,
    own=own_images(28, grey=True, multiple=4),
    evaluate=image_scores(real=Thresholds(15.0, 0.9, 0.85), bundled=Thresholds(10.0, 0.9, 0.85), crop=2),
    denoise_log_snr=(1.0, -1.0, -3.0),
    budgets={
        "smoke": Budget(Settings(steps=20, batch=64), samples=100, sample_steps=5, judge_epochs=1),
        "quick": Budget(
            Settings(steps=1500, batch=32, learning_rate=0.016, ema_decay=0.99, optimizer="muon"),
            samples=500,
            sample_steps=25,  # DDIM, which a learner's run takes, needs them
            judge_epochs=2,
            guidance=2.0,
        ),
        "full": Budget(
            Settings(steps=6000, batch=64, learning_rate=0.016, ema_decay=0.998, optimizer="muon"),
            samples=2000,
            sample_steps=15,
            judge_epochs=2,
        ),
    },
)
