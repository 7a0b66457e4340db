"""Run the experiments of the book's chapters and keep what they measured, for pages that have no time to run them.

    python scripts/record_experiments.py [CHAPTER or EXPERIMENT ...]

`book/experiments/` has a file for each chapter, and some chapters have more: `spiral.py` and `spiral_pairs.py`. The
numbers go to `book/recorded/NN_NAME.json`, with the command, the day, the versions, the processor and the seconds under
"about", and the pictures beside it. A file is replaced when its run is complete, and not before.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from diffusion_lab.errors import LabError
from diffusion_lab.exercises.catalogue import find
from diffusion_lab.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book"))
from pages import record_name  # noqa: E402

EXPERIMENTS = ROOT / "book" / "experiments"
RECORDED = ROOT / "book" / "recorded"
VERSIONS = ("diffusion-lab", "torch", "numpy", "scikit-learn")


def processor() -> str:
    """The processor's own name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def about(chapter: str, seconds: float, result: dict[str, Any]) -> dict[str, Any]:
    """Where these numbers come from."""
    import torch

    return {
        "command": f"python scripts/record_experiments.py {chapter}",
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "seconds": round(seconds, 1),
        "data": result.get("data", ""),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
    }


def in_256_colours(png: bytes) -> bytes:
    """A picture for a page, at a third to two thirds of the bytes; the alternative text in it is kept."""
    picture = Image.open(BytesIO(png))
    text = PngImagePlugin.PngInfo()
    text.add_itxt("Description", picture.info["Description"])
    file = BytesIO()
    few = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(file, format="PNG", optimize=True, pnginfo=text, dpi=picture.info["dpi"])
    return file.getvalue()


def record(chapter: str, run: Callable, on_step: Callable[[str, int, int], None], out: Path) -> list[Path]:
    """Run one chapter's experiments and write what came of them; the files, numbers first."""
    from diffusion_lab.plots.figure import to_png

    began = time.perf_counter()
    result = dict(run(on_step))
    pictures = {name: in_256_colours(to_png(figure)) for name, figure in result.pop("pictures", {}).items()}
    if "about" in result:
        raise LabError(f"the result of {chapter} has an entry 'about', which is taken")
    content = {"about": about(chapter, time.perf_counter() - began, result), **result}
    # NaN is no JSON, and no number that a page could show.
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False, default=_plain) + "\n"
    folder = record_name(chapter)
    others = tuple(f"{record_name(name)}_" for name in experiments() if name.startswith(f"{chapter}_"))
    for old in set(out.glob(f"{folder}_*.png")) - {out / f"{folder}_{name}.png" for name in pictures}:
        if not old.name.startswith(others):
            old.unlink()
    written = [write_atomically(out / f"{folder}_{name}.png", data) for name, data in pictures.items()]
    return [write_atomically(out / f"{folder}.json", text.encode()), *written]


def _plain(value: Any) -> Any:
    """Tensors and arrays as lists and numbers."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a recorded result holds numbers, texts, lists and dictionaries, not {type(value).__name__}")


def experiments() -> list[str]:
    """All that can be recorded, in the order of the chapters."""
    return sorted((path.stem for path in EXPERIMENTS.glob("*.py")), key=record_name)


def chosen_of(names: list[str]) -> list[str]:
    """The experiments of these names, each the name of one, of its chapter, or the chapter's number; none means all.

    Raises:
        LabError: for another name, with the names there are.
    """
    there = experiments()
    return [name if name in there else find(name) for name in names] or there


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chapters", nargs="*", metavar="EXPERIMENT", help="names, or chapters' numbers; by default all")
    parser.add_argument("--out", type=Path, default=RECORDED)
    chosen = parser.parse_args()
    try:
        chapters = chosen_of(chosen.chapters)
    except LabError as error:
        sys.exit(f"error: {error}")
    for chapter in chapters:
        if not (EXPERIMENTS / f"{chapter}.py").is_file():
            print(f"{chapter}: no experiments", flush=True)
            continue
        for file in watched(chapter, chosen.out):
            print(f"{chapter}: {file.relative_to(ROOT) if file.is_relative_to(ROOT) else file}", flush=True)


def watched(chapter: str, out: Path) -> list[Path]:
    """`record` under a progress bar."""
    run = importlib.import_module(f"experiments.{chapter}").run
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}")
    with Progress(*columns, TimeElapsedColumn(), console=Console(), transient=True) as progress:
        task = progress.add_task(chapter, total=None)

        def on_step(what: str, done: int, total: int) -> None:
            progress.update(task, description=f"{chapter}: {what}", completed=done, total=total)

        return record(chapter, run, on_step, out)


if __name__ == "__main__":
    main()
