"""What chapter 13 measures and a page has no time for: what is lost, pixels beside latents, clouds, hidden bands."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

import diffusion_lab
from diffusion_lab.chapters import bands
from diffusion_lab.chapters.cloud_removal import FITTED, SHARE, filled_in
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.latent import images_of, train_autoencoder
from diffusion_lab.chapters.opening import shipped
from diffusion_lab.checkpoints import load_tensors
from diffusion_lab.data.landscapes import BANDS
from diffusion_lab.metrics import (
    cloud_mask,
    decibels_apart,
    image_covariance,
    kriging,
    radial_spectrum,
    random_rows,
)
from diffusion_lab.networks import Autoencoder

OnStep = Callable[[str, int, int], None]

HELD = 300
"""Held-out images of what the autoencoder loses."""
CHANNELS = (1, 2, 4, 8, 16)
"""Numbers for each patch of 48, of principal components."""
DRAWN = 120
TIMED = 20
"""Steps of the autoencoder whose seconds stand for all of its steps."""
CLOUDY = 16
DRAWS = 4


def run(on_step: OnStep) -> dict[str, Any]:
    """All of it, with the shipped network, on generated landscapes."""
    experiment = diffusion_lab.open_checkpoint(name="satellite", source="bundled", device="cpu")
    images = images_of(experiment.dataset)
    on_step("sampling", 0, 1)
    samples = experiment.draw(DRAWN)
    latents = in_latent_space(experiment, on_step)
    return {
        "data": images.name,
        "held": HELD,
        "drawn": DRAWN,
        "lost": lost(experiment, on_step),
        "blame": blame(experiment, samples),
        "runs": [latents, pixels(on_step)],
        "clouds": clouds(experiment, on_step),
        "bands": hidden_bands(on_step),
    }


def rmse(found: Tensor, truth: Tensor) -> float:
    return float((found - truth).square().mean().sqrt())


def lost(experiment: Experiment, on_step: OnStep) -> dict[str, Any]:
    """What is missing from held-out images that went through few numbers for each patch, linear and learned."""
    images = images_of(experiment.dataset)
    truth, net = images.test[:HELD], experiment.dataset.info["autoencoder"]
    k, power = radial_spectrum(truth)
    spectra = {"images": power}
    rows = []
    for number, channels in enumerate(CHANNELS):
        on_step("principal components", number, len(CHANNELS))
        linear = Autoencoder(net.shape, channels=channels, width=16).start_from_pca(images.train[:500])
        back = linear.decode(linear.encode(truth))
        rows.append({"channels": channels, "linear": rmse(back, truth)})
        if channels == net.latent_shape[0]:
            spectra["principal components"] = radial_spectrum(back)[1]
    back = net.decode(net.encode(truth))
    spectra["autoencoder"] = radial_spectrum(back)[1]
    return {
        "channels": net.latent_shape[0],
        "learned": rmse(back, truth),
        "linear": rows,
        "k": k,
        "power": {name: found.mean(dim=0) for name, found in spectra.items()},
        "decibels": {name: decibels_apart(found, power) for name, found in spectra.items() if name != "images"},
    }


def blame(experiment: Experiment, samples: Tensor) -> dict[str, float]:
    """The spectra of samples against those of held-out images, and of these once the autoencoder gives them back."""
    truth = images_of(experiment.dataset).test
    net = experiment.dataset.info["autoencoder"]
    back = net.decode(net.encode(truth))
    found, real, again = (radial_spectrum(each)[1] for each in (samples, truth, back))
    return {
        "samples and images": decibels_apart(found, real),
        "samples and images given back": decibels_apart(found, again),
    }


def in_latent_space(experiment: Experiment, on_step: OnStep) -> dict[str, Any]:
    """What the card of the shipped network says; the seconds of its autoencoder are taken from a few steps of one."""
    card = load_tensors(shipped("satellite"))[1]["card"]
    settings = experiment.budget.autoencoder
    began = time.process_time()
    few = replace(settings, steps=TIMED)
    train_autoencoder(experiment.chapter.latent, images_of(experiment.dataset).train, few, 0, on_step)
    seconds = (time.process_time() - began) * settings.steps / TIMED
    scores = {score["name"]: score for score in card["scores"]}
    return _row("latents", card["training"]["cpu_seconds"] + seconds, scores)


def _row(name: str, seconds: float, scores: dict[str, Any]) -> dict[str, Any]:
    found = {
        "frechet": scores["Fréchet distance of classifier features"],
        "decibels": scores["distance of radial spectra"],
        "agreement": scores["samples of the class asked for"],
    }
    values = {key: score["value"] for key, score in found.items()}
    return {"name": name, "seconds": seconds, **values, "floors": {key: score["floor"] for key, score in found.items()}}


def pixels(on_step: OnStep) -> dict[str, Any]:
    """A network of the same size on pixels, whose budget is about as many seconds as the two in latent space take."""
    clock: dict[str, float] = {}

    def watch(what: str, done: int, total: int) -> None:
        on_step(f"in pixels: {what}", done, total)
        if what == "training":
            clock.setdefault("begun", time.process_time())
            clock["ended"] = time.process_time()

    report = diffusion_lab.run_chapter("satellite", variant="pixels", source="bundled", device="cpu", on_step=watch)
    scores = {score.name: {"value": score.value, "floor": score.floor} for score in report.scores}
    return _row("pixels", clock["ended"] - clock["begun"], scores)


def clouds(experiment: Experiment, on_step: OnStep) -> dict[str, Any]:
    """Errors under clouds of the linear guess, of one draw and of the mean of several, and how smooth each is."""
    data, quiet = images_of(experiment.dataset), experiment.on_step
    images, labels = data.test[:CLOUDY], data.test_labels[:CLOUDY]
    hidden = cloud_mask(images.shape[-1], SHARE, experiment.generator("cloud"))
    net = experiment.dataset.info["autoencoder"]
    experiment.on_step = on_step
    found = {
        "linear guess": kriging(images, hidden, *image_covariance(data.train[:FITTED])),
        "one draw": filled_in(experiment, images, hidden, labels, 1),
        f"mean of {DRAWS} draws": filled_in(experiment, images, hidden, labels, DRAWS),
        "the truth, through the autoencoder": torch.where(hidden, net.decode(net.encode(images)), images),
        "the truth": images,
    }
    experiment.on_step = quiet
    rows = [
        {"name": name, "rmse": rmse(guess[..., hidden], images[..., hidden]), "detail": detail(guess, hidden)}
        for name, guess in found.items()
    ]
    return {"images": CLOUDY, "share": SHARE, "draws": DRAWS, "rows": rows}


def detail(images: Tensor, hidden: Tensor) -> float:
    """The root mean square difference of two neighbours in a row, both of them hidden."""
    pairs = hidden[:, 1:] & hidden[:, :-1]
    return float((images[..., 1:] - images[..., :-1])[..., pairs].square().mean().sqrt())


def hidden_bands(on_step: OnStep) -> dict[str, Any]:
    """Nine bands from four: the network, the linear guess, and the guess of what a normal distribution would leave."""
    report = diffusion_lab.run_chapter(
        "satellite",
        variant="bands",
        source="bundled",
        device="cpu",
        on_step=lambda what, done, total: on_step(f"bands: {what}", done, total),
    )
    experiment = report.experiment
    data = experiment.dataset
    score = next(score for score in report.scores if score.name == "RMSE of bands that were hidden")
    truth = bands.fitted(data.train)
    places = [BANDS.index(band) for band in bands.FINE]
    others = [place for place in range(len(BANDS)) if place not in places]
    seen = random_rows(data.test, bands.SPECTRA, experiment.generator("spectra"))[:, places]
    left = truth.given(torch.eye(len(BANDS), dtype=torch.float64)[places], seen[0].double()).cov.diag()[others]
    normal = truth.sample(4000, torch.Generator().manual_seed(0))
    guess = bands.linear_guess(truth, normal[:, places], places)
    return {
        "bands": len(BANDS),
        "seen": list(bands.FINE),
        "draws": bands.DRAWS,
        "learned": score.value,
        "linear": score.floor,
        "expected": math.sqrt(float(left.mean())),
        "linear_on_normal": rmse(guess[:, others], normal[:, others]),
    }
