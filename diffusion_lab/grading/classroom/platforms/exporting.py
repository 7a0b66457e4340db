"""Files by which a learning platform grades by itself, with this version of the package inside them.

Each holds the grader whole, so that it needs no address from which the package could be had. PyTorch there is of the
release that made it.
"""

from __future__ import annotations

import io
import json
import sys
import uuid
import zipfile
from collections.abc import Mapping
from importlib import metadata
from importlib.resources import files
from pathlib import Path

import diffusion_lab
from diffusion_lab.errors import LabError
from diffusion_lab.exercises.catalogue import find, folder_name
from diffusion_lab.files import write_atomically
from diffusion_lab.grading.classroom.marking import SUBMISSION_LIMIT
from diffusion_lab.grading.classroom.platforms.alone import SETTINGS, Settings
from diffusion_lab.grading.classroom.platforms.identity import EMAIL, LIST, VARIANT, guessed_at, is_drawn

PACKAGE = Path(diffusion_lab.__file__).resolve().parent
LEFT_OUT = {"shipped", "challenge", "book", "__pycache__"}
"""Folders of the package that no grader needs: trained networks, the challenge, the built book."""
LIBRARIES = ("numpy>=2.0", "rich>=13.8", "safetensors>=0.5")
"""What grading one notebook imports, beside the release of torch that is here: another Python may lack the others'."""
TIME = 420
"""Seconds for one submission on a platform: what it may take in all, and the start of a sandbox."""
assert TIME > SUBMISSION_LIMIT
FIRST_DAY = (2000, 1, 1, 0, 0, 0)
"""Of every file in a zip, so that the same export is the same bytes."""
NOT_THERE = "GitHub's workflow does not say whose submission it is"
"""Why it takes no notebook in which something is drawn for each student."""
GUESSED = ", and as a comment says at every push what is right, the bug would be found by trying out the list"
"""Why it takes none with a bug either."""
INSTEAD = ". Collect the clones and grade them here, or export it for Gradescope or PrairieLearn"
SCRIPTS = files("diffusion_lab.grading.classroom.platforms") / "scripts"


def gradescope_zip(settings: Settings, to: Path, index: str = "") -> Path:
    """The zip that is uploaded as Gradescope's autograder.

    Args:
        to: the zip's path.
        index: of packages, beside pip's own, such as that of PyTorch without CUDA.

    Raises:
        LabError: something is drawn for each student, and the settings do not say for whom; see `for_its_students`.
    """
    _gradable(settings, EMAIL, LIST)
    contents = {
        "setup.sh": _script("gradescope_setup.sh", index=_option(index)),
        "run_autograder": _script("gradescope_run.sh"),
        "requirements.txt": requirements(),
        SETTINGS: settings.written(),
        **package(),
    }
    return write_atomically(to, _zipped(contents))


def prairielearn_question(settings: Settings, to: Path, image: str, index: str = "") -> list[Path]:
    """Files of a PrairieLearn course: a question, the grader that questions share, and what its image is built from.

    Args:
        to: the course's folder. The question's uuid is the same each time, as PrairieLearn wants it.
        image: the name of the image, as in `docker pull`.
        index: of packages, beside pip's own.

    Raises:
        LabError: something is drawn for each student, and the settings do not say for whom; see `for_its_students`.
    """
    chapter = _gradable(settings, VARIANT)
    name, shared = folder_name(chapter), "serverFilesCourse/diffusion_lab_grader"
    about = {
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"diffusion-lab/{chapter}")),
        "title": f"Diffusion models: {chapter}",
        "topic": "Diffusion models",
        "tags": ["notebook"],
        "type": "v3",
        "singleVariant": True,
        "gradingMethod": "External",
        "externalGradingOptions": {
            "enabled": True,
            "image": image,
            "serverFilesCourse": [f"{Path(shared).name}/"],
            "entrypoint": f"/grade/{shared}/run.sh",
            "timeout": TIME,
            "enableNetworking": False,
        },
    }
    question = f"questions/diffusion_lab/{name}"
    drawn = is_drawn(settings)
    whose = _script("prairielearn_name.html").decode() if drawn else ""
    contents = {
        f"{question}/info.json": (json.dumps(about, indent=2) + "\n").encode(),
        f"{question}/question.html": _script("prairielearn_question.html", name=name, whose=whose),
        **({f"{question}/server.py": _script("prairielearn_server.py")} if drawn else {}),
        f"{question}/tests/{SETTINGS}": settings.written(),
        f"{shared}/run.sh": _script("prairielearn_run.sh"),
        **{f"{shared}/{path}": content for path, content in package().items()},
        "diffusion_lab_image/Dockerfile": _script(
            "prairielearn_Dockerfile", index=_option(index), python=f"{sys.version_info.major}.{sys.version_info.minor}"
        ),
        "diffusion_lab_image/requirements.txt": requirements(),
    }
    return [write_atomically(to / path, content, _mode(path)) for path, content in contents.items()]


def github_workflow(settings: Settings, to: Path, index: str = "") -> list[Path]:
    """Files of a repository on GitHub: a workflow that grades pull requests, and the grader that it runs.

    Args:
        to: the repository's folder.
        index: of packages, beside pip's own.

    Raises:
        LabError: something is drawn for each student, or another isolation than bubblewrap is asked for.
    """
    chapter = _gradable(settings)
    if settings.isolation != "bubblewrap":
        raise LabError("GitHub's machines let bubblewrap work, so `export github` takes no other isolation")
    name = folder_name(chapter)
    grader = {"requirements.txt": requirements(), SETTINGS: settings.written(), **package()}
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    contents = {
        f".github/workflows/grade_{name}.yml": _script(
            "github_workflow.yml", name=name, index=_option(index), python=python, minutes=str(TIME // 60 + 20)
        ),
        f".github/graders/{name}.zip": _zipped(grader),
    }
    return [write_atomically(to / path, content) for path, content in contents.items()]


def package() -> dict[str, bytes]:
    """The package's files that graders need: path -> content."""
    found = {}
    for path in sorted(PACKAGE.rglob("*")):
        inside = path.relative_to(PACKAGE)
        if path.is_file() and not LEFT_OUT & set(inside.parts[:-1]) and path.suffix not in (".pyc", ".so"):
            found[f"diffusion_lab/{inside.as_posix()}"] = path.read_bytes()
    return found


def requirements() -> bytes:
    """The libraries that graders need, as pip reads them."""
    torch = f"torch=={metadata.version('torch').partition('+')[0]}"
    return "".join(f"{line}\n" for line in (torch, *LIBRARIES)).encode()


def _gradable(settings: Settings, *identities: str) -> str:
    """The notebook's name.

    Args:
        identities: by what the platform can say whose submission it is; none where it cannot.

    Raises:
        LabError: something is drawn for each student, and the settings do not say for whom, or the platform cannot.
    """
    chapter = find(settings.chapter)
    if is_drawn(settings) and not (settings.course and settings.identity in identities):
        why = f"{NOT_THERE}{GUESSED if guessed_at(settings) else ''}{INSTEAD}"
        if identities:
            why = "these settings do not say for whom; see `for_its_students`"
        raise LabError(f"in '{chapter}' something is drawn for each student: {why}")
    return chapter


def _option(index: str) -> str:
    """What pip is told of a further index. Raises LabError for what is no address."""
    if index and not (
        index.startswith("https://") and index.isascii() and index.isprintable() and not set(" '\"$`\\") & set(index)
    ):
        raise LabError(f"{index!r} is no https address of an index of packages")
    return f" --extra-index-url '{index}'" if index else ""


def _script(file: str, /, **words: str) -> bytes:
    """A file of `scripts`, with words in the place of those between two at-signs."""
    text = (SCRIPTS / file).read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace(f"@@{word}@@", value)
    return text.encode()


def _mode(path: str) -> int:
    return 0o755 if path.endswith((".sh", "run_autograder")) else 0o644


def _zipped(contents: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in contents.items():
            entry = zipfile.ZipInfo(path, FIRST_DAY)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, (0o100000 | _mode(path)) << 16
            archive.writestr(entry, content)
    return made.getvalue()
