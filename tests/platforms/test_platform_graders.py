"""What platforms run for a submission: Gradescope's autograder, PrairieLearn's external grader, GitHub's workflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from downloads import CHAPTER, NAME, laid, notebook
from handed_in import filled, right
from typer.testing import CliRunner

import diffusion_lab
from diffusion_lab.cli import app
from diffusion_lab.errors import LabError, SourceError
from diffusion_lab.exercises import notebook as tasks_of
from diffusion_lab.grading.classroom.platforms import Settings, gradescope, prairielearn
from diffusion_lab.grading.classroom.platforms.alone import grade_folder, notebook_in
from diffusion_lab.grading.classroom.platforms.exporting import LEFT_OUT, github_workflow, gradescope_zip
from diffusion_lab.grading.classroom.platforms.exporting import prairielearn_question as question
from diffusion_lab.grading.classroom.platforms.github import comment
from diffusion_lab.grading.classroom.result import GRADED, Result, refused
from diffusion_lab.grading.isolation import SandboxError

HERE = Settings(CHAPTER)
POINTS = tasks_of(CHAPTER).points


def item(name: str, state: str, text: str = "", **parts: list[float]) -> dict:
    points, most = (sum(part[i] for part in parts.values()) for i in (0, 1))
    return {"name": name, "state": state, "points": points, "out_of": most, "parts": parts, "ideas": [], "text": text}


RESULT = Result(
    student="submission",
    chapter=CHAPTER,
    state=GRADED,
    points=5.0,
    out_of=9,
    exercises=(
        item("alpha_bar", "passed", values=[3.0, 3], care=[1.0, 1]),
        item(
            "q_sample",
            "failed",
            "✗ q_sample\n  Idea: the variance ```\n@everyone</details>",
            values=[1.0, 4],
            care=[0.0, 1],
        ),
    ),
    notes=("cell 8 names the package diffusion_lab",),
    seconds=2.4,
)
REFUSED = refused("submission", tasks_of(CHAPTER), "it is no JSON, at line 1")


def test_gradescope_has_a_test_for_each_part_and_hints_below_them():
    made = gradescope.results(RESULT, Settings(CHAPTER, visibility="visible", hints="after_due_date"))
    marks = {
        test["name"]: (test["score"], test["max_score"], test["status"]) for test in made["tests"] if "score" in test
    }
    assert marks == {
        "alpha_bar: values": (3.0, 3, "passed"),
        "alpha_bar: care": (1.0, 1, "passed"),
        "q_sample: values": (1.0, 4, "failed"),
        "q_sample: care": (0.0, 1, "failed"),
    }
    assert made["score"] == sum(mark for mark, *_ in marks.values()) == RESULT.points
    (hint,) = (test for test in made["tests"] if "output" in test)
    assert "Idea: the variance" in hint["output"] and hint["visibility"] == "after_due_date"
    assert {test["visibility"] for test in made["tests"] if "score" in test} == {"visible"}
    # What the platform's documentation has for a test and for the whole.
    assert {key for test in made["tests"] for key in test} <= {
        "score", "max_score", "status", "name", "name_format", "number", "output", "output_format", "tags",
        "visibility", "extra_data",
    }  # fmt: skip
    hidden = gradescope.results(RESULT, Settings(CHAPTER, visibility="hidden", hints="visible"))
    assert {test["visibility"] for test in hidden["tests"]} == {"hidden"}, "a hint tells where points were lost"


def test_a_refused_file_gets_its_reason_and_in_prairielearn_costs_no_attempt():
    made = gradescope.results(REFUSED, HERE)
    assert made["score"] == 0.0 and "it is no JSON, at line 1" in made["output"]
    assert prairielearn.results(REFUSED, HERE) == {
        "gradable": False,
        "format_errors": ["The submission was refused: it is no JSON, at line 1."],
    }
    assert "it is no JSON" in comment(REFUSED, HERE)


def test_prairielearn_has_a_score_between_0_and_1():
    made = prairielearn.results(RESULT, HERE)
    assert made["gradable"] is True and made["score"] == pytest.approx(5 / 9)
    assert [(test["points"], test["max_points"], bool(test["output"])) for test in made["tests"]] == [
        (4.0, 4, False),
        (1.0, 5, True),
    ]
    assert not any(test["output"] for test in prairielearn.results(RESULT, Settings(CHAPTER, hints="hidden"))["tests"])


def test_nothing_of_a_students_gets_out_of_its_box_in_a_comment():
    text = comment(RESULT, HERE)
    assert "5 of 9 points" in text and "| ✗ `q_sample` | 1 of 5 | values 1/4, care 0/1 |" in text
    box = text[text.index("````text\n") :]
    assert box.index("@everyone</details>") < box.index("\n````\n"), "its own three marks end nothing"


def test_the_notebook_is_found_under_other_names_and_not_guessed(tmp_path: Path):
    folder = laid(tmp_path, {"work/mine.ipynb": notebook("a"), "old.ipynb": notebook("b", "spiral"), "x.txt": b""})
    assert notebook_in(folder, CHAPTER).name == "mine.ipynb"
    laid(folder, {"work/mine 2.ipynb": notebook("c")})
    with pytest.raises(SourceError, match="several notebooks could be meant"):
        notebook_in(folder, CHAPTER)
    laid(folder, {f"{NAME}.ipynb": notebook("d")})
    assert notebook_in(folder, CHAPTER).name == f"{NAME}.ipynb"
    with pytest.raises(SourceError, match=r"there is no 05_mnist\.ipynb; it has"):
        notebook_in(folder, "mnist")


def test_exports_hold_the_grader_and_no_trained_networks(tmp_path: Path):
    with zipfile.ZipFile(gradescope_zip(HERE, tmp_path / "a.zip")) as archive:
        names = set(archive.namelist())
        assert archive.getinfo("run_autograder").external_attr >> 16 & 0o111, "Gradescope runs it"
        assert (
            f"torch=={__import__('torch').__version__.partition('+')[0]}" in archive.read("requirements.txt").decode()
        )
    assert {"setup.sh", "run_autograder", "grader.json", "diffusion_lab/grading/judge/checking.py"} <= names
    assert not any(set(name.split("/")[1:-1]) & LEFT_OUT for name in names)
    again = gradescope_zip(HERE, tmp_path / "b.zip")
    assert again.read_bytes() == (tmp_path / "a.zip").read_bytes()


def test_a_question_of_prairielearn_names_its_grader(tmp_path: Path):
    question(Settings(CHAPTER, "account"), tmp_path, "me/image")
    place = tmp_path / "questions" / "diffusion_lab" / NAME
    about = json.loads((place / "info.json").read_text())
    options = about["externalGradingOptions"]
    entry = tmp_path / options["entrypoint"].removeprefix("/grade/")
    assert about["gradingMethod"] == "External" and options["image"] == "me/image" and os.access(entry, os.X_OK)
    assert (
        tmp_path / "serverFilesCourse" / options["serverFilesCourse"][0] / "diffusion_lab" / "__init__.py"
    ).is_file()
    assert json.loads((place / "tests" / "grader.json").read_text())["isolation"] == "account"
    assert f'file-names="{NAME}.ipynb"' in (place / "question.html").read_text()


def test_no_job_of_the_workflow_both_runs_students_code_and_may_write(tmp_path: Path):
    workflow, grader = github_workflow(HERE, tmp_path)
    content = yaml.safe_load(workflow.read_text())
    grade, say = content["jobs"]["grade"], content["jobs"]["comment"]
    assert content["permissions"] == {} and grade["permissions"] == {"contents": "read"}
    assert say["permissions"] == {"pull-requests": "write"}
    runs = " ".join(step.get("run", "") for step in say["steps"])
    assert "submission" not in runs and not any("checkout" in step.get("uses", "") for step in say["steps"])
    # What a pull request says of itself, such as its branch's name, must not get into a shell.
    assert "${{ github.event.pull_request.head" not in " ".join(step.get("run", "") for step in grade["steps"])
    assert all(
        not step["with"].get("persist-credentials", True)
        for step in grade["steps"]
        if "checkout" in step.get("uses", "")
    )
    assert f".github/graders/{grader.name}" in workflow.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gradescope", "normal_1d_lab"], "something is drawn for each student"),
        (["gradescope", "nonsense"], "there is no chapter"),
        (["gradescope", "1", "--index", "https://x'; rm -rf /"], "is no https address"),
        (["github", "1", "--to", ".", "--hints", "after_due_date"], "visible or hidden, not after_due_date"),
    ],
)
def test_what_cannot_be_exported_is_told(tmp_path: Path, monkeypatch, arguments: list[str], words: str):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["export", *arguments])
    assert done.exit_code == 2 and words in done.output and not list(tmp_path.iterdir())


def test_a_grader_that_fails_gives_no_mark_and_says_what_a_teacher_can_decide(tmp_path: Path, monkeypatch, capsys):
    def broken(*_):
        raise SandboxError("the sandbox did not start: bwrap: Creating new namespace failed")

    root = laid(tmp_path, {"source/grader.json": HERE.written(), f"submission/{NAME}.ipynb": notebook("x")})
    monkeypatch.setattr(gradescope, "grade_folder", broken)
    assert gradescope.main(root) == 1 and not (root / "results").exists()
    told = capsys.readouterr().out
    assert "not graded, and no zero: the sandbox did not start" in told and "--isolation account" in told
    (root / "source" / "grader.json").write_text('{"chapter": "normal_1d", "isolaton": "none"}')
    assert gradescope.main(root) == 1 and "unexpected keyword argument 'isolaton'" in capsys.readouterr().out


def test_a_submission_that_others_kept_from_running_gets_another_try(tmp_path: Path, monkeypatch):
    from diffusion_lab.grading.classroom import workers

    tries = [RESULT.as_dict() | {workers.ROBBED: True}, RESULT.as_dict() | {"points": 9.0}]
    monkeypatch.setattr(workers, "graded", lambda order: tries.pop(0))
    assert grade_folder(laid(tmp_path, {f"{NAME}.ipynb": notebook("x")}), HERE).points == 9.0 and not tries


CAPABILITIES = (
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL "
    "AUDIT_WRITE"
)
"""Of root in a container of docker's, by default."""


def in_a_container() -> list[str]:
    """The command in front of one that then runs as root of a container does, with no right to make walls."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root can stand for the root of a container")
    command = ["bwrap", "--dev-bind", "/", "/", "--cap-drop", "ALL"]
    for name in CAPABILITIES.split():
        command += ["--cap-add", f"CAP_{name}"]
    if Path(sys.base_prefix).is_relative_to("/root"):  # Python is there, and other accounts must reach it
        command += ["--tmpfs", "/root"]
        for above in reversed(Path(sys.base_prefix).parents[:-2]):
            command += ["--dir", str(above)]
        command += ["--ro-bind", sys.base_prefix, sys.base_prefix]
    return command


def on_gradescope(root: Path, settings: Settings, document: dict, wall: list[str]) -> subprocess.CompletedProcess:
    """Unpack the export where Gradescope does, and run it on a submission."""
    with zipfile.ZipFile(gradescope_zip(settings, root / "export.zip")) as archive:
        archive.extractall(root / "source")
    laid(root, {f"submission/{NAME}.ipynb": json.dumps(document).encode()})
    root.chmod(0o755)
    names = {"AUTOGRADER_ROOT": str(root), "AUTOGRADER_PYTHON": sys.executable, "PATH": os.environ["PATH"]}
    command = [*wall, "bash", str(root / "source" / "run_autograder")]
    return subprocess.run(command, env=names, capture_output=True, text=True, timeout=900)


HOSTILE = """
import os, subprocess
subprocess.Popen(["sh", "-c", "setsid sleep 987 &"])
def alpha_bar(betas):
    there = [name for name in {names} if os.access(name, os.R_OK | os.W_OK)]
    for name in there:
        open(name, "w").write('{{"score": {points}}}')
    raise RuntimeError(f"{{len(there)}} files of {{os.getuid()}}")
"""


@pytest.mark.slow
def test_gradescope_on_a_wrong_and_hostile_submission_where_no_walls_can_be_made(tmp_path_factory):
    root = tmp_path_factory.mktemp("autograder")
    for folder in (root, *root.parents[:-2]):  # those of pytest are root's alone
        folder.chmod(0o755)
    names = [
        str(root / name) for name in ("results/results.json", "source/grader.json", "source/diffusion_lab/errors.py")
    ]
    document = filled(right() | {"alpha_bar": HOSTILE.format(names=names, points=POINTS)})
    done = on_gradescope(root, HERE, document, in_a_container())
    assert done.returncode == 1 and not (root / "results" / "results.json").exists(), "walls were asked for"
    assert "bwrap" in done.stdout and "--isolation account" in done.stdout, done
    done = on_gradescope(root, Settings(CHAPTER, "account"), document, in_a_container())
    made = json.loads((root / "results" / "results.json").read_text())
    lost = next(task.points for task in tasks_of(CHAPTER).exercises if task.name == "alpha_bar")
    assert made["score"] == POINTS - lost, (made, done)
    (told,) = (test["output"] for test in made["tests"] if test["name"] == "alpha_bar: what went wrong")
    assert "0 files of" in told and "0 files of 0" not in told, "it was another account, and nothing was in its reach"
    running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert b"sleep\x00987\x00" not in running, "what it started has ended with it"


@pytest.mark.slow
def test_prairielearn_on_a_perfect_submission(tmp_path: Path):
    question(HERE, tmp_path / "course", "me/image")
    root = tmp_path / "grade"
    laid(root, {f"student/{NAME}.ipynb": json.dumps(filled(right())).encode()})
    (root / "serverFilesCourse").mkdir()
    (tmp_path / "course" / "serverFilesCourse" / "diffusion_lab_grader").rename(
        root / "serverFilesCourse" / "diffusion_lab_grader"
    )
    (tmp_path / "course" / "questions" / "diffusion_lab" / NAME / "tests").rename(root / "tests")
    script = root / "serverFilesCourse" / "diffusion_lab_grader" / "run.sh"
    names = {"GRADE_ROOT": str(root), "GRADE_PYTHON": sys.executable, "PATH": os.environ["PATH"]}
    done = subprocess.run([script], env=names, capture_output=True, text=True, timeout=900)
    made = json.loads((root / "results" / "results.json").read_text())
    assert made["score"] == 1.0 and len(made["tests"]) == len(tasks_of(CHAPTER).exercises), done


@pytest.mark.slow
def test_a_pull_request_gets_a_comment_on_its_checkout(tmp_path: Path):
    _, grader = github_workflow(HERE, tmp_path / "base")
    with zipfile.ZipFile(grader) as archive:
        archive.extractall(tmp_path / "grader")
    wrong = {"alpha_bar": "def alpha_bar(betas):\n    raise RuntimeError('```\\n</details> @everyone')"}
    laid(tmp_path, {f"submission/{NAME}.ipynb": json.dumps(filled(right() | wrong)).encode()})
    module = f"{diffusion_lab.__name__}.grading.classroom.platforms.github"
    command = [sys.executable, "-m", module, "submission", "comment.md", "grader/grader.json"]
    names = os.environ | {"PYTHONPATH": str(tmp_path / "grader"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=names, capture_output=True, text=True, timeout=900)
    text = (tmp_path / "comment.md").read_text(encoding="utf-8")
    assert done.returncode == 0 and "✗ `alpha_bar` | 0 of" in text, (done, text)
    assert text.count("✓ `") == len(tasks_of(CHAPTER).exercises) - 1


def test_settings_that_are_not_there_are_told(tmp_path: Path):
    with pytest.raises(LabError, match="is not as `diffusion-lab export` writes it"):
        Settings.read(tmp_path / "grader.json")
