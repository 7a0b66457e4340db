"""Chapter 5: handwritten digits. A U-Net, class labels, classifier-free guidance."""

from __future__ import annotations

from diffusion_lab import samplers, schedules, targets
from diffusion_lab.chapters.chapter import Budget, Chapter
from diffusion_lab.chapters.images import Thresholds, image_scores, own_images
from diffusion_lab.chapters.readiness import require_images
from diffusion_lab.data import load
from diffusion_lab.denoisers import clip
from diffusion_lab.exact import FiniteSet
from diffusion_lab.train import Settings

CHAPTER = Chapter(
    number=5,
    name="mnist",
    title="MNIST digits",
    method="cosine, v, DDIM, classifier-free guidance",
    load=lambda source, root, seed: load("mnist", source=source, root=root, seed=seed),
    # Exact for the training images and nothing else: on held-out ones the network, which generalises, is nearer.
    exact=lambda dataset: FiniteSet(dataset.train),
    schedule=lambda dataset: schedules.cosine(),
    target=targets.v,
    step=lambda dataset: samplers.ddim(),
    network={"width": 32},
    labelled=True,
    drop_labels=0.1,
    guidance=1.25,
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
            sample_steps=25,
            judge_epochs=2,
        ),
        "full": Budget(
            Settings(steps=6000, batch=64, learning_rate=0.016, ema_decay=0.998, optimizer="muon"),
            samples=2000,
            sample_steps=30,
            judge_epochs=2,
        ),
    },
)
