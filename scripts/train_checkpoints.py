"""Train the networks that ship with the package, score them, and write each with its model card.

    python scripts/train_checkpoints.py [CHAPTER ...] [--resume] [--out FOLDER]
    python scripts/train_checkpoints.py [CHAPTER ...] --score
    python scripts/train_checkpoints.py --smoke

How each network is trained stands in `RECIPES`. A run keeps its state, report and figures under RUNS/CHAPTER, and an
interrupted one goes on with --resume. The weights are then stored, opened again as a user opens them, and the chapter's
own metrics are taken of what was opened. Weights and card are replaced when both are complete. --smoke does all this
with a few steps of training and writes under RUNS only. --score takes the metrics of networks that are there already,
after a change of the chapter or of its metrics, and writes their cards anew.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import diffusion_lab  # noqa: F401 - before torch, whose threads it keeps from spinning long

# isort: split
import torch

from diffusion_lab import open_checkpoint, run_chapter
from diffusion_lab.chapters import BEYOND, NAMES, get
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.opening import SHIPPED, shipped
from diffusion_lab.checkpoints import load_tensors, save_tensors
from diffusion_lab.data.catalogue import ENTRIES
from diffusion_lab.denoisers import EVERYWHERE
from diffusion_lab.errors import LabError
from diffusion_lab.files import write_atomically
from diffusion_lab.report import Report
from diffusion_lab.train import OPTIMIZERS, Settings


@dataclass(frozen=True)
class Recipe:
    """How one network is trained and stored."""

    limits: str
    """What it cannot do, for its card."""
    source: str = "auto"
    """"real", "bundled", or "auto" for data that are generated and everywhere the same."""
    training: Settings | None = None
    """None: as the budget has it."""
    budget: str = "full"
    dtype: torch.dtype = torch.float32
    """What the weights are stored in. They are loaded as float32."""


TOY = Recipe("It knows one distribution and nothing else.", training=Settings(steps=4000, batch=1024), budget="quick")
RECIPES = {
    "normal_1d": TOY,
    "normal_2d": TOY,
    "mixture": TOY,
    "normal_nd": TOY,
    "mnist": Recipe(
        "Digits of 28x28 pixels in the style of MNIST. About one in seventy is no digit or not the one asked for.",
        source="real",
        training=Settings(steps=12_000, batch=128, learning_rate=2e-3, ema_decay=0.9995),
        dtype=torch.float16,
    ),
    "spiral": replace(TOY, training=Settings(steps=6000, batch=1024)),
    "cifar10": Recipe(
        "Scenes of 32x32 pixels with the colours and the layout of their class. Ships, lorries, horses and faces of "
        "dogs can be made out; details are smeared, and many an object is none.",
        source="real",
        # What ships was trained before the chapter's times gathered where details take shape. After so many steps the
        # two do not differ: 2.58 with even times, 2.68 with the chapter's.
        training=Settings(steps=4500, batch=128, learning_rate=1.5e-3, ema_decay=0.999),
        dtype=torch.float16,
    ),
    "audio": Recipe(
        "Half a second of speech at 8 kHz from six speakers, who say ten words. No choice of speaker.",
        source="real",
        dtype=torch.float16,
    ),
    "text": Recipe(
        "Sentences of at most eight words of a small grammar, in the word vectors that ship with the package: one for "
        "other vectors, such as GloVe's, could make nothing of its samples where those are not on disk.",
        source="bundled",
        training=Settings(steps=2000, batch=64, learning_rate=1e-3, ema_decay=0.995),
        budget="quick",
        dtype=torch.float16,
    ),
    "games": Recipe(
        "Boards of tic-tac-toe, without regard to whose move it is.",
        training=Settings(steps=1700, batch=256, learning_rate=3e-3, ema_decay=0.995),
        budget="quick",
    ),
    "heartbeats": Recipe(
        "Four seconds of two leads, around a beat of one of three classes, from a model of the heart and from no "
        "patient. Its samples train nobody to read an electrocardiogram, and what it takes for noise may be a finding.",
        source="bundled",
        training=Settings(steps=4000, batch=32, ema_decay=0.999),
        dtype=torch.float16,
    ),
    "points": Recipe(
        "Clouds of 128 points on tori, ellipsoids, trefoil knots and chairs from boxes, all standing on the floor and "
        "of about one size. Surfaces are a little fuzzy, and the tube of a knot is often not closed.",
        source="bundled",
        budget="quick",
        dtype=torch.float16,
    ),
    "satellite": Recipe(
        "Generated landscapes of 64x64 pixels, and no place on earth. Woods, fields, towns and coasts have their "
        "colours and their grain; rivers and roads break off. What the autoencoder blurs, fine texture above all, is "
        "lost in every sample.",
        source="bundled",
        budget="quick",
        dtype=torch.float16,
    ),
}


class Clock:
    """Seconds of training over all sittings of a run, kept beside its state."""

    def __init__(self, path: Path, resume: bool):
        self.path = path
        self.before = {"seconds": 0.0, "cpu_seconds": 0.0}
        if resume and path.is_file():
            self.before = json.loads(path.read_text())
        self.began: tuple[float, float] | None = None
        self.shown = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.perf_counter(), time.process_time()
        if what == "training":
            self.began = self.began or now
            if done % max(1, total // 10) == 0 or done == total:  # when the trainer keeps its state
                write_atomically(self.path, json.dumps(self.spent(now)).encode())
        if now[0] - self.shown > 30 or done == total:
            self.shown = now[0]
            print(f"  {what} {done}/{total}", flush=True)

    def spent(self, now: tuple[float, float]) -> dict[str, float | None]:
        """The sums; None stays None, for a sitting that was not measured."""
        new = (now[0] - self.began[0], now[1] - self.began[1])
        return {
            key: None if before is None else round(before + more, 1)
            for (key, before), more in zip(self.before.items(), new, strict=True)
        }


def processor() -> str:
    """The processor's own name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def train(name: str, recipe: Recipe, runs: Path, resume: bool, data_root: Path | None) -> tuple[Report, dict]:
    """The run of a recipe, and the seconds of its training."""
    clock = Clock(runs / name / "clock.json", resume)
    report = run_chapter(
        name,
        budget=recipe.budget,
        training=recipe.training,
        source=recipe.source,
        data_root=data_root,
        out=runs,
        resume=resume,
        on_step=clock,
    )
    return report, json.loads(clock.path.read_text())


def store(
    report: Report, seconds: dict, recipe: Recipe, folder: Path, data_root: Path | None, on_step: Callable
) -> Path:
    """Write the weights of a run, score them as they were stored, and write them again with the card inside."""
    tensors, settings = load_tensors(Path(report.files["checkpoint"]))
    tensors = {name: x.to(recipe.dtype) if x.is_floating_point() else x for name, x in tensors.items()}
    path = folder / f"{report.number:02}_{report.chapter}.safetensors"
    stored = save_tensors(Path(report.files["checkpoint"]).with_name("stored.safetensors"), tensors, settings)
    experiment = open_checkpoint(stored, data_root=data_root)
    entry = ENTRIES.get(report.chapter)
    real = report.source == "real" and entry is not None
    training = recipe.training or experiment.budget.training
    autoencoder = experiment.dataset.info.get("autoencoder")
    settings["card"] = {
        "title": report.title,
        "licence": entry.licence if real else "",
        "training": {
            **asdict(training),
            **seconds,
            "final_loss": report.final_loss,
            "loss_floor": report.loss_floor,
            "precision": report.precision,
            "device": report.device,
            "processor": processor(),
            "threads": torch.get_num_threads(),
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
            "versions": report.versions,
            "command": f"python scripts/train_checkpoints.py {report.chapter}",
        },
        "parameters": report.parameters,
        "autoencoder": sum(x.numel() for x in autoencoder.parameters()) if autoencoder is not None else 0,
        "stored": str(recipe.dtype).removeprefix("torch."),
        **measured(experiment, on_step),
        "meaningful": report.meaningful,
        "score_before_storing": report.scores[0].value,
        "limits": recipe.limits,
    }
    save_tensors(path, tensors, settings)
    return write_atomically(path.with_suffix(".md"), model_card(settings).encode())


def measured(experiment: Experiment, on_step: Callable) -> dict[str, Any]:
    """Samples of an opened network, scored by its chapter, and how they were drawn."""
    experiment.on_step = on_step
    experiment.draw()
    return {
        "method": experiment.chapter.method,
        "samples": len(experiment.samples),
        "sample_steps": experiment.budget.sample_steps,
        "evaluations": experiment.evaluations,
        "guidance": experiment.guidance if experiment.chapter.labelled else None,
        "guidance_interval": list(experiment.guidance_interval),
        "scores": [score.as_dict() for score in experiment.chapter.evaluate(experiment)],
    }


def score_again(name: str, data_root: Path | None, on_step: Callable) -> Path:
    """Measure a shipped network again, by today's chapter on the data it was trained on, and write its card."""
    tensors, settings = load_tensors(path := shipped(name))
    experiment = open_checkpoint(path, source=settings["source"], data_root=data_root)
    settings["card"].update(measured(experiment, on_step), limits=RECIPES[name].limits, score_before_storing=None)
    save_tensors(path, tensors, settings)
    return write_atomically(path.with_suffix(".md"), model_card(settings).encode())


def model_card(settings: dict[str, Any]) -> str:
    """The card in Markdown, every number of it from the settings in the file."""
    card, training = settings["card"], settings["card"]["training"]
    origin = {
        "real": f"licence of the data: {card['licence']}; none of the data are in the file",
        "bundled": "ships with the package",
        "generated": "drawn from the exact distribution",
    }[settings["source"]]
    kinds = {"seconds": "wall-clock", "cpu_seconds": "processor time"}
    known = {kind: training[key] for key, kind in kinds.items() if training[key] is not None}
    spent = ", ".join(f"{seconds / 60:.1f} minutes of {kind}" for kind, seconds in known.items())
    guidance = "" if card["guidance"] is None else f", guidance scale {card['guidance']:g}"
    first, last = card.get("guidance_interval", EVERYWHERE)  # a card may be older than the interval
    guidance += f" from t = {first:g} to {last:g}" if guidance and (first, last) != EVERYWHERE else ""
    floor = "" if training["loss_floor"] is None else f" (no network can go below {training['loss_floor']:.4g})"
    before = []
    if card["stored"] != "float32" and card["score_before_storing"] is not None:
        value = card["score_before_storing"]
        before = [f"The first score before the weights were stored in {card['stored']}: {value:.4g}.", ""]
    encoding = card.get("autoencoder", 0)
    autoencoder = [f"- **Autoencoder:** {encoding:,} parameters, in the same file."] if encoding else []
    rows = [
        f"| {score['name']} | {score['value']:.4g} {score['unit']} | {score['floor']:.4g} "
        f"| {'≤' if score['better'] == 'lower' else '≥'} {score['threshold']:.4g} |".replace("  ", " ")
        for score in card["scores"]
    ]
    notes = [score["note"] for score in card["scores"] if score["note"]]
    return "\n".join(
        [
            f"# {card['title']}",
            "",
            f"The network of chapter `{settings['chapter']}` ({card['method']}) that ships with the package.",
            "",
            f"- **Network:** {settings['network']}; inputs of shape {tuple(settings['shape'])}; "
            f"stored in {card['stored']}, loaded as float32.",
            *autoencoder,
            f"- **Data:** {settings['dataset']} ({settings['source']}): {origin}.",
            f"- **Training:** {training['steps']:,} steps of {training['batch']}, "
            f"{OPTIMIZERS[training.get('optimizer', 'adamw')][0]} with a learning rate of "
            f"{training['learning_rate']:g} that falls to 0, average of the weights with decay "
            f"{training['ema_decay']:g}, seed {settings['seed']}, {training['precision']}.",
            f"- **Cost:** {spent or 'not measured'} on {training['device']} ({training['processor']}; threads: "
            f"{training['threads']}; shared with other work), torch {training['versions']['torch']}, "
            f"{training['date']}.",
            f"- **Loss:** {training['final_loss']:.4g} at the end{floor}.",
            f"- **Again:** `{training['command']}`",
            "",
            f"## Scores of {card['samples']:,} samples",
            "",
            f"{card['sample_steps']} steps, {card['evaluations']} network evaluations each{guidance}. The floor is "
            "what the truth itself scores at this sample size, or the best answer that is known.",
            *([] if card["meaningful"] else ["", "A smoke run: these scores mean nothing."]),
            "",
            "| metric | score | floor | passes at |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            *(f"{note[0].upper()}{note[1:]}.\n" for note in dict.fromkeys(notes)),
            *before,
            "## Limits",
            "",
            card["limits"],
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER", help="by default all")
    parser.add_argument("--resume", action="store_true", help="go on from the states under RUNS")
    parser.add_argument("--smoke", action="store_true", help="a few steps, on whatever data are here, under RUNS only")
    parser.add_argument("--score", action="store_true", help="train nothing: score the shipped networks again")
    parser.add_argument("--runs", type=Path, default=Path("runs/shipped"), help="for states, reports and figures")
    parser.add_argument("--out", type=Path, help="for weights and cards; by default the package's own folder")
    parser.add_argument("--data-root", type=Path, help="folder of the real data; by default as for `diffusion-lab run`")
    arguments = parser.parse_args()
    if arguments.score and (arguments.smoke or arguments.resume or arguments.out):
        parser.error(
            "--score trains nothing and writes where the networks are: it goes without --smoke, --resume, --out"
        )
    folder = arguments.out or (arguments.runs / "smoke" if arguments.smoke else SHIPPED)
    for name in [get(name).name for name in arguments.chapters] or [n for n in (*NAMES, *BEYOND) if n in RECIPES]:
        recipe = RECIPES[name]
        if arguments.smoke:
            source = "bundled" if recipe.source == "bundled" else "auto"
            recipe = Recipe(recipe.limits, source=source, budget="smoke", dtype=recipe.dtype)
        print(name, flush=True)
        progress = Clock(Path(), False)
        try:
            if arguments.score:
                card = score_again(name, arguments.data_root, progress)
            else:
                report, seconds = train(name, recipe, arguments.runs, arguments.resume, arguments.data_root)
                card = store(report, seconds, recipe, folder, arguments.data_root, progress)
        except LabError as error:
            raise SystemExit(f"error in chapter '{name}': {error}") from error
        print(card.read_text(encoding="utf-8"), flush=True)


if __name__ == "__main__":
    main()
