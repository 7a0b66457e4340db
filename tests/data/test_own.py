"""Images, sounds, sentences, boards and tables of one's own: read rightly, or refused with the file and the reason."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import chess
import chess.pgn
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from diffusion_lab.data import Dataset
from diffusion_lab.data.own_boards import load_own_boards
from diffusion_lab.data.own_data import OwnData
from diffusion_lab.data.own_images import load_own_images
from diffusion_lab.data.own_sounds import load_own_sounds
from diffusion_lab.data.own_table import load_own_table
from diffusion_lab.data.own_text import load_own_sentences, random_vectors, words_of
from diffusion_lab.data.recordings import decode_sound
from diffusion_lab.data.storage import held_out
from diffusion_lab.errors import DataError


def everything(data: Dataset) -> torch.Tensor:
    return torch.cat([data.train, data.test])


def has_row(rows: torch.Tensor, row: np.ndarray, tolerance: float) -> bool:
    return bool((rows - torch.from_numpy(row)).abs().flatten(1).amax(dim=1).min() < tolerance)


def colours(number: int, wide: int = 40, high: int = 30) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (high, wide, 3), dtype=np.uint8)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """mnist/{cat,dog}: grey, coloured, transparent and 16-bit pictures of several sizes, and a hidden file."""
    folder = tmp_path / "mnist"
    for number in range(12):
        place = folder / ("cat", "dog")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(colours(number, wide=40 + number))
        image = image.convert(("RGB", "L", "RGBA", "P")[number % 4])
        image.save(place / f"{number}.{('png', 'png', 'webp', 'gif')[number % 4]}")
    (folder / "cat" / ".hidden.png").write_bytes(b"no picture")
    return folder


def test_own_images_are_called_yours_even_in_a_folder_called_mnist(pictures: Path):
    data = load_own_images(OwnData("images", pictures), 28, grey=True)
    assert data.name == "your images in mnist/ (11 to train on)" and data.source == "own"
    assert data.train.shape == (11, 1, 28, 28) and data.classes == ("cat", "dog")
    assert "12 images of 40 x 30 to 51 x 30 pixels: the middle square of each is resized to 28 x 28" in data.notes[0]


def test_colours_become_the_grey_of_pillow_and_grey_stays(tmp_path: Path):
    for number in range(4):
        Image.fromarray(colours(number, 16, 16)).convert(("RGB", "L")[number % 2]).save(tmp_path / f"{number}.png")
    data = load_own_images(OwnData("images", tmp_path), 16, grey=True)
    for number in range(4):
        grey = np.asarray(Image.fromarray(colours(number, 16, 16)).convert("L"))[None] / 127.5 - 1
        assert has_row(everything(data), grey, 1.01 / 127.5)  # Pillow rounds to whole levels
    assert any("shades of grey" in note for note in data.notes)
    assert load_own_images(OwnData("images", tmp_path, size=24), 16, grey=False).train.shape[1:] == (3, 24, 24)


def broken_picture(folder: Path) -> None:
    content = io.BytesIO()
    Image.fromarray(colours(0)).save(content, "PNG")
    (folder / "cat" / "half.png").write_bytes(content.getvalue()[:700])


def animation(folder: Path) -> None:
    frames = [Image.fromarray(colours(number)) for number in range(3)]
    frames[0].save(folder / "cat" / "film.gif", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (broken_picture, r"cat/half\.png cannot be read as an image"),
        (animation, r"cat/film\.gif holds 3 pictures, and a file must hold one"),
        (lambda folder: (folder / "cat" / "a.heic").touch(), r"cat/a\.heic is of a kind that is not read here"),
        (lambda folder: (folder / "cat" / "none.jpg").touch(), r"cat/none\.jpg cannot be read as an image"),
    ],
)
def test_one_bad_picture_among_many_is_named(spoil: Callable[[Path], None], reason: str, pictures: Path):
    spoil(pictures)
    with pytest.raises(DataError, match=reason):
        load_own_images(OwnData("images", pictures), 28, grey=True)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"kind": "pictures"}, "no data of your own are called 'pictures'; the kinds are images, sounds"),
        ({"kind": "images", "rate": 8000}, "rate is an option of sounds, and your data are images"),
        ({"kind": "images", "size": 4}, "size must be 8 to 512 pixels, got 4"),
        ({"kind": "sounds", "seconds": float("nan")}, "seconds must be 0.05 to 20 seconds, got nan"),
        ({"kind": "sounds", "path": Path("/nowhere/at all")}, "there is no /nowhere/at all to read sounds from"),
    ],
)
def test_what_is_said_of_own_data_is_checked(options: dict, reason: str, tmp_path: Path):
    with pytest.raises(DataError, match=reason):
        OwnData(**{"path": tmp_path, **options})


@pytest.mark.parametrize(
    ("name", "shown", "folder"),
    [
        ("$x$ [red]", "$x$ [red]/", "_x___red_"),
        ("a\nb", "a?b/", "a_b"),
        ("…", "…/", "data"),
        ("x" * 90, None, "x" * 39),
    ],
)
def test_any_name_of_a_folder_can_be_shown_and_written(name: str, shown: str | None, folder: str, tmp_path: Path):
    (tmp_path / name).mkdir()
    own = OwnData("images", tmp_path / name)
    assert own.called == (shown or "x" * 39 + "…/") and own.folder == folder
    assert OwnData(**own.as_settings()) == own


def test_each_class_keeps_an_item_to_train_on():
    labels = [0] * 2 + [1] * 2 + [2]
    for one_in in (1, 2, 10):
        train, test = held_out(5, one_in, labels)
        assert {labels[i] for i in train} == {0, 1, 2} and 2 not in {labels[i] for i in test}
        assert sorted([*train.tolist(), *test.tolist()]) == [0, 1, 2, 3, 4]
    with pytest.raises(DataError, match="each of 3 classes has one item only"):
        held_out(3, labels=[0, 1, 2])


def tone(hertz: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


@pytest.mark.parametrize(("suffix", "rate"), [("wav", 8000), ("flac", 44_100), ("ogg", 22_050), ("mp3", 16_000)])
@pytest.mark.parametrize("wanted", [8000, 16_000])
def test_a_tone_keeps_its_pitch_at_another_rate(suffix: str, rate: int, wanted: int, tmp_path: Path):
    stereo = np.stack([tone(625, rate), 0.5 * tone(625, rate)], axis=1)
    for number in range(2):
        soundfile.write(tmp_path / f"{number}.{suffix}", stereo, rate)
    data = load_own_sounds(OwnData("sounds", tmp_path, rate=wanted, seconds=0.512))
    length = round(0.512 * wanted / 128) * 128
    assert data.train.shape == (1, 1, length) and data.info["sample_rate"] == wanted
    spectrum = torch.fft.rfft(data.train[0, 0]).abs()
    assert int(spectrum.argmax()) * wanted / length == pytest.approx(625, abs=wanted / length)
    assert float(data.train.square().mean().sqrt()) == pytest.approx(1 / 6, rel=1e-3)
    assert any("resampled" in note for note in data.notes) == (rate != wanted)


@pytest.mark.parametrize(
    ("samples", "rate", "reason"),
    [
        (np.array([0.1, -0.2, 0.3]), 8000, "has 3 samples, which is less than 10 ms"),
        (np.zeros(4000), 8000, "is silent"),
        (tone(12_000, 44_100), 44_100, "has no sound below 4,000 Hz"),
    ],
)
def test_one_bad_sound_among_many_is_named(samples: np.ndarray, rate: int, reason: str, tmp_path: Path):
    for number in range(3):
        soundfile.write(tmp_path / f"{number}.wav", tone(300, 8000), 8000)
    soundfile.write(tmp_path / "bad.wav", samples, rate)
    with pytest.raises(DataError, match=rf"bad\.wav {reason}"):
        load_own_sounds(OwnData("sounds", tmp_path))


@pytest.mark.parametrize(
    "kind", ["WAV", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "MP3", "OGG", "OGG/OPUS"], ids=lambda kind: kind
)
def test_a_truncated_sound_is_refused_and_a_whole_one_is_not(kind: str):
    noise = 0.1 * np.random.default_rng(0).normal(size=40_000)
    whole = io.BytesIO()
    form, _, subtype = kind.partition("/")
    soundfile.write(whole, noise, 8000, format=form, subtype=subtype or None)
    samples, rate = decode_sound(whole.getvalue(), "whole")
    assert samples.shape == (40_000, 1) and rate == 8000
    for part in (0.5, 0.9):
        with pytest.raises(DataError, match=r"^half (is truncated: |cannot be read as a sound)"):
            decode_sound(whole.getvalue()[: int(part * len(whole.getvalue()))], "half")


def test_a_sound_too_short_for_the_loss_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"0\.05 s at 8,000 Hz are 384 samples, .* needs 1,024: ask for 0\.13 s"):
        load_own_sounds(OwnData("sounds", tmp_path, seconds=0.05))


LINES = ["The cat sees the dog.", "«Größe» zählt, sagt er!", "the  CAT sees the dog", "", "one", "…", "a " * 17]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_sentences_in_any_usual_encoding(encoding: str, end: str, tmp_path: Path):
    (tmp_path / "mine.txt").write_bytes(end.join(LINES).encode(encoding))
    data = load_own_sentences(OwnData("sentences", tmp_path / "mine.txt"))
    texts = {*data.info["train_sentences"], *data.info["test_sentences"]}
    assert texts == {"the cat sees the dog", "größe zählt sagt er", "one"}
    assert data.train.shape[1:] == (5, 32) and data.name == "your sentences in mine.txt (2 to train on)"
    notes = " ".join(data.notes)
    assert "1 of them have more than 16 words" in notes and "1 of them repeat others" in notes
    words, vectors = data.info["words"], data.info["vectors"]
    for split in ("train", "test"):
        rows = getattr(data, split)
        for text, row, mask in zip(data.info[f"{split}_sentences"], rows, data.info[f"{split}_mask"], strict=True):
            read = [words[int((vectors[1:] - vector).square().sum(dim=1).argmin()) + 1] for vector in row[mask]]
            assert " ".join(read) == text and not row[~mask].any()


def test_the_vector_of_a_word_depends_on_the_word_alone():
    few, many = random_vectors(["cat", "dog"]), random_vectors(["a", "cat", "dog", "eel"])
    assert torch.equal(few, many[1:3]) and not torch.equal(few[0], few[1])
    large = random_vectors([str(number) for number in range(2000)])
    assert abs(float(large.mean())) < 0.02 and float(large.var()) == pytest.approx(1, abs=0.03)


def test_words_of_a_line():
    assert words_of(" “Don't” --  (well-known): 3.5 % नमस्ते।") == ("don't", "well-known", "3.5", "नमस्ते")


def test_own_sentences_with_vectors_of_a_file(tmp_path: Path):
    (tmp_path / "lines.txt").write_text("a b c\nb c d\nc d a\nd x a\n")
    rng = np.random.default_rng(0)
    rows = [f"{word} " + " ".join(f"{value:.6f}" for value in rng.normal(3, 2, 6)) for word in "abcd"]
    (tmp_path / "glove.txt").write_text("\n".join(rows))
    own = OwnData("sentences", tmp_path / "lines.txt", vectors=tmp_path / "glove.txt")
    data = load_own_sentences(own)
    assert len(everything(data)) == 3 and any("'x' is one" in note for note in data.notes)
    assert float(data.info["vectors"][1:].square().mean()) == pytest.approx(1, rel=1e-5)
    (tmp_path / "lines.txt").write_text("x y\nz x\na b\n")
    with pytest.raises(DataError, match="lacks words of 2 of 3 sentences, among them x, y, z"):
        load_own_sentences(own)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"one two\nno\xebl is here\n", r"mine\.txt, line 2: byte 0xeb is no text in UTF-8; save the file as UTF-8"),
        (b"one\0two", r"mine\.txt, line 1: a zero byte"),
        (b" \n\n", r"mine\.txt is empty"),
        (b"a b c", "has 1 sentences of 1 to 16 words; at least 2 are needed"),
        (b"one\ntwo\n", "has no line of two words"),
    ],
)
def test_what_is_no_file_of_sentences_is_refused(content: bytes, reason: str, tmp_path: Path):
    (tmp_path / "mine.txt").write_bytes(content)
    with pytest.raises(DataError, match=reason):
        load_own_sentences(OwnData("sentences", tmp_path / "mine.txt"))
    with pytest.raises(DataError, match="is a folder; one text file is needed"):
        load_own_sentences(OwnData("sentences", tmp_path))


def test_chess_boards_stand_as_python_chess_prints_them(tmp_path: Path):
    games, boards = [], set()
    for opening in (["e4", "e5", "Nf3"], ["d4", "d5", "c4"], ["c4", "e5", "g3"]):
        game, board = chess.pgn.Game(), chess.Board()
        boards.add(str(board))
        node = game
        for san in opening:
            node = node.add_variation(board.push_san(san))
            boards.add(str(board))
        games.append(str(game))
    (tmp_path / "mine.pgn").write_text("\n\n".join(games))
    data = load_own_boards(OwnData("boards", tmp_path / "mine.pgn"))
    symbols = data.info["symbols"]
    drawn = {
        "\n".join(" ".join(symbols[t] if t else "." for t in row) for row in tokens.reshape(8, 8).tolist())
        for tokens in everything(data)
    }
    assert drawn == boards and data.info["columns"] == 8 and len(symbols) == data.info["K"] == 13
    assert data.name.startswith("your boards in mine.pgn")


def test_boards_of_any_game(tmp_path: Path):
    (tmp_path / "four.txt").write_text("X|.|O/.|X|.\n. . O / . X .\n\nX.O/.X.\nOOO/XX.\n")
    data = load_own_boards(OwnData("boards", tmp_path / "four.txt"))
    symbols, columns = data.info["symbols"], data.info["columns"]
    assert {"".join(symbols[t] for t in row) for row in everything(data).tolist()} == {"X.O.X.", "..O.X.", "OOOXX."}
    assert columns == 3 and "1 of them repeat others" in data.notes[1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("XO./.X.\nXO./.X\n", r"line 2: rows of 3, 2 cells; a board has rows of one length, .* line 1: 3, 3"),
        ("XO.\nXO.X\n", "line 2: rows of 4 cells"),
        ("OOO\nOOO\n", "1 different signs"),
        (f"{'XO' * 201}\n", "boards of 402 cells; 2 to 400"),
        ("XO\nXO", "at least 2 items"),
    ],
)
def test_what_is_no_file_of_boards_is_refused(text: str, reason: str, tmp_path: Path):
    (tmp_path / "mine.txt").write_text(text)
    with pytest.raises(DataError, match=reason):
        load_own_boards(OwnData("boards", tmp_path / "mine.txt"))


@pytest.mark.parametrize(("separator", "sign"), [(",", "."), (";", ","), ("\t", "."), (" ", ".")])
@pytest.mark.parametrize("header", [True, False])
def test_a_table_is_read_in_its_own_units(separator: str, sign: str, header: bool, tmp_path: Path):
    rows = np.random.default_rng(0).normal([3, -200], [0.1, 50], (40, 2)).round(4)
    lines = [separator.join(str(value).replace(".", sign) for value in row) for row in rows]
    (tmp_path / "mine.csv").write_text("\n".join([separator.join("ab"), *lines] if header else lines), "utf-8-sig")
    data = load_own_table(OwnData("table", tmp_path / "mine.csv"))
    assert data.info["columns"] == (("a", "b") if header else ("column 1", "column 2"))
    back = everything(data) * data.info["scale"] + data.info["centre"]
    assert torch.allclose(back.sort(dim=0).values, torch.tensor(np.sort(rows, axis=0)).float(), rtol=1e-5, atol=1e-3)
    assert torch.allclose(data.train.var(dim=0, correction=0), torch.ones(2), atol=1e-4)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,b\n1,2\n3,x\n", "line 3, b: 'x' is no finite number"),
        ("a,b\n1,\n3,4\n", "line 2, b: the cell is empty"),
        ("1,2\n3\n", "line 2: 1 columns, expected 2"),
        ("1,2\nnan,4\n5,6\n", "line 2, column 1: 'nan' is no finite number"),
        ("a,b\n1,2\n1,3\n1,4\n", "'a' is the same in every row"),
        ("a,b\n1,2\n", "at least 2 items"),
    ],
)
def test_what_is_no_table_of_numbers_is_refused(text: str, reason: str, tmp_path: Path):
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(DataError, match=reason):
        load_own_table(OwnData("table", tmp_path / "mine.csv"))


def test_a_table_says_its_separator_as_excel_does_and_a_sheet_is_no_table(tmp_path: Path):
    (tmp_path / "a.csv").write_text("sep=;\na;b\n1,5;2\n3,5;4\n5;7\n", encoding="utf-8-sig")
    data = load_own_table(OwnData("table", tmp_path / "a.csv"))
    rows = torch.cat([data.train, data.test]) * data.info["scale"] + data.info["centre"]
    assert sorted(map(sum, rows.tolist())) == pytest.approx([3.5, 7.5, 12]) and data.info["columns"] == ("a", "b")
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"a\.xlsx is a sheet; save it as CSV"):
        load_own_table(OwnData("table", tmp_path / "a.xlsx"))


def test_one_file_where_a_folder_is_needed(pictures: Path):
    with pytest.raises(DataError, match=r"cat/0\.png is one file; give the folder that it lies in"):
        load_own_images(OwnData("images", pictures / "cat" / "0.png"), 28, grey=True)
