"""What the pages of the book share: numbers for the prose, tables, sliders, sounds, results of recorded runs."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusion_lab  # noqa: F401 - before torch, whose threads it keeps from spinning long

# isort: split
import soundfile
import torch
from IPython import get_ipython
from IPython.display import HTML, Image
from torch import Tensor

from diffusion_lab.exercises.catalogue import BEYOND, CHAPTERS, find, folder_name
from diffusion_lab.plots import LabFigure, Slider

STUDIES = {"architectures": 14}
"""What stands beside the chapters with a number of its own: it has experiments, and no exercises."""
RECORDED = Path(__file__).parent / "recorded"
NUMBER = re.compile(r"[-−+±≤≥<>~≈ ]*\d[\d.,\s×⁻⁰¹²³⁴⁵⁶⁷⁸⁹%°±e+−-]*[a-zA-Zµ]{0,3}")


def say(name: str, value: float | int | str, spec: str = "") -> None:
    """Store a number for the prose, which shows it with {glue:text}`name`.

    Args:
        name: unique in the page.
        value: a number, or text that is ready.
        spec: how to format it, such as ".2g" or ".0%". Powers of ten are written with digits, as in 3.1 × 10⁻⁵.
    """
    if isinstance(value, Tensor):
        value = value.item()
    text = value if isinstance(value, str) and not spec else _plain(format(value, spec))
    if get_ipython() is None:  # the cells of a page run as a plain script
        print(f"{name} = {text}")
        return
    from myst_nb import glue

    glue(name, text, display=False)


def _plain(text: str) -> str:
    """A formatted number with a true minus sign, and with a power of ten in the place of an exponent."""
    mantissa, _, exponent = text.partition("e")
    if exponent:
        power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        mantissa = f"{mantissa} × 10{power}"
    return re.sub(r"^-", "−", mantissa)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], caption: str) -> HTML:
    """A table of strings, columns of numbers aligned to the right. On a narrow screen it scrolls inside itself."""
    cells = [[str(cell) for cell in row] for row in rows]
    if any(len(row) != len(header) for row in cells):
        raise ValueError(f"every row needs {len(header)} cells, one for each of {', '.join(header)}")
    numeric = [all(_is_number(row[column]) for row in cells) for column in range(len(header))]

    def line(tag: str, texts: Sequence[str]) -> str:
        openings = [f'{tag} class="number"' if number else tag for number in numeric]
        parts = (f"<{opening}>{html.escape(text)}</{tag}>" for opening, text in zip(openings, texts, strict=True))
        return f"<tr>{''.join(parts)}</tr>"

    body = "\n".join(line("td", row) for row in cells)
    label, head = html.escape(caption), line("th", header).replace("<th", '<th scope="col"')
    head = re.sub("<th[^>]*></th>", "<td></td>", head)  # nothing is no heading
    return HTML(
        f'<div class="lab-table" role="region" aria-label="{label}"><table class="table">\n'
        f"<caption>{label}</caption>\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _is_number(text: str) -> bool:
    return text.strip() in ("", "–", "—", "-") or NUMBER.fullmatch(text.strip()) is not None


def slider(figures: Sequence[LabFigure], values: Sequence[str], label: str) -> Slider:
    """Figures of one size behind a slider that moves `label`, such as "noise level"; `values` name its positions."""
    return Slider(figures, values, label)


def record_name(experiment: str | int) -> str:
    """What the files of a recorded run are called: "spiral" -> "06_spiral".

    A chapter may have more runs, each named after it: "spiral_pairs" -> "06_spiral_pairs".
    """
    for study, number in STUDIES.items():
        if str(experiment) == study or str(experiment).startswith(f"{study}_"):
            return f"{number}_{experiment}"
    for chapter in (*CHAPTERS, *BEYOND):
        if str(experiment).startswith(f"{chapter}_"):
            return folder_name(chapter) + str(experiment).removeprefix(chapter)
    return folder_name(find(experiment))


def recorded(experiment: str | int) -> dict[str, Any]:
    """What `python scripts/record_experiments.py EXPERIMENT` wrote: the results, and under "about" how they came."""
    path = RECORDED / f"{record_name(experiment)}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def picture(experiment: str | int, name: str) -> Image:
    """A recorded picture; its alternative text is inside the PNG."""
    return Image(data=(RECORDED / f"{record_name(experiment)}_{name}.png").read_bytes(), format="png")


def sound(wave: Tensor, rate: int, title: str) -> HTML:
    """A player for a wave (L,) or (1, L) with values in [-1, 1], as 16-bit WAV, which every browser plays."""
    file = io.BytesIO()
    samples = torch.as_tensor(wave).detach().cpu().float().flatten().clamp(-1, 1).numpy()
    soundfile.write(file, samples, int(rate), format="WAV", subtype="PCM_16")
    data, label = base64.b64encode(file.getvalue()).decode(), html.escape(title)
    return HTML(
        f'<figure class="lab-sound"><figcaption>{label}</figcaption>'
        f'<audio controls preload="metadata" aria-label="{label}" src="data:audio/wav;base64,{data}"></audio></figure>'
    )
