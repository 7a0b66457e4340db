"""Chess positions from PGN files, through python-chess (the `chess` extra)."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import torch

from diffusion_lab.data.dataset import Dataset
from diffusion_lab.data.storage import left_out
from diffusion_lab.errors import DataError

SQUARES = 64
TAG = re.compile(r'\s*\[\s*\w+\s+"')
"""The beginning of a line such as [Event "A game"]; a comment of a clock begins with [%."""
TOKENS = ("empty", "P", "N", "B", "R", "Q", "K", "p", "n", "b", "r", "q", "k")


def load_chess(path: str | Path) -> Dataset:
    """Every position of every game as tokens (N, 64) int64 of 13 kinds, a1 first and h8 last; repeated ones kept once.

    `path` is a PGN file or a folder of them, in UTF-8 or the format's own Latin-1. The last tenth of the games, at
    least one, is held out, less the positions that training games have too (the first moves of a game are everybody's).
    Up to one game in a hundred may be unreadable: it is left out, and a note names its file and line.

    Raises:
        DataError: python-chess is not installed; a file that is empty or no text; more games that are unreadable, have
            an illegal move or the piece letters of another language; one game only.
    """
    path = Path(path)
    files = sorted(f for f in path.glob("*.pgn") if not f.name.startswith(".")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path} holds no .pgn file")
    read = [_games(file) for file in files]
    games = [game for good, _ in read for game in good]
    faults = [fault for _, bad in read for fault in bad]
    notes = left_out(faults, len(games) + len(faults), "games")
    if len(games) < 2:
        raise DataError(f"{path} has one game; at least 2 are needed, so that one can be held out")
    cut = len(games) - max(1, len(games) // 10)
    train = dict.fromkeys(position for game in games[:cut] for position in game)
    test = dict.fromkeys(position for game in games[cut:] for position in game if position not in train)
    if not test:
        raise DataError(f"the held-out games of {path} repeat the others move for move")
    return Dataset(
        name=f"chess positions of {len(games):,} games",
        source="real",
        kind="board",
        train=torch.tensor(list(train)),
        test=torch.tensor(list(test)),
        info={"K": len(TOKENS), "tokens": TOKENS},
        notes=notes,
    )


def _games(file: Path) -> tuple[list[list[tuple[int, ...]]], list[str]]:
    """The positions of each readable game of a file, the starting position first, and what is wrong with the others."""
    try:
        import chess.pgn
    except ImportError as fault:
        raise DataError("python-chess is needed for PGN files; `pip install diffusion-lab[chess]` adds it") from fault

    class Strict(chess.pgn.GameBuilder):
        """Raises where python-chess would log the fault on stderr and go on."""

        def handle_error(self, error: Exception) -> None:
            raise error

    games, faults = [], []
    for number, (line, text) in enumerate(_texts(file), start=1):
        try:
            _refuse_strange(text, line, chess.pgn.MOVETEXT_REGEX)
            parsed, rest = [], io.StringIO(text)
            while (game := chess.pgn.read_game(rest, Visitor=Strict)) is not None:
                parsed.append(game)
        except ValueError as fault:
            where = f"line {fault.line}" if isinstance(fault, _Strange) else f"from line {line} on"
            faults.append(f"{file}, {where}, game {number}: {fault}")
            continue
        for game in parsed:
            board = game.board()
            positions = [_tokens(board)]
            for move in game.mainline_moves():
                board.push(move)
                positions.append(_tokens(board))
            games.append(positions)
    if not faults and not any(len(positions) > 1 for positions in games):
        raise DataError(f"{file} has no game with a move; is it a PGN file?")
    return games, faults


def _texts(file: Path) -> Iterator[tuple[int, str]]:
    """The games of a file as text, each with the number of its first line: a game begins with tags after moves."""
    content = file.read_bytes()
    if b"\0" in content:
        raise DataError(f"{file} is no PGN file: it holds bytes that are no text in UTF-8 or Latin-1")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")  # in which the standard of 1994 has PGN written
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    start, moves, comment = 0, False, False
    for index, line in enumerate(lines):
        tag = not comment and TAG.match(line) is not None
        if tag and moves:
            yield start + 1, "\n".join(lines[start:index])
            start, moves = index, False
        if not tag and line.strip():
            moves = True
            comment = _open_after(line, comment)
    yield start + 1, "\n".join(lines[start:])


def _open_after(line: str, comment: bool) -> bool:
    """Whether a comment in braces is open at the end of a line; a brace after a semicolon is none."""
    for sign in line:
        if comment:
            comment = sign != "}"
        elif sign == ";":
            return False
        else:
            comment = sign == "{"
    return comment


class _Strange(ValueError):
    """A word among the moves that python-chess would pass over."""

    def __init__(self, word: str, line: int):
        super().__init__(f"{word!r} is no move; pieces are K, Q, R, B and N, as in English, and a pawn has no letter")
        self.line = line


def _refuse_strange(text: str, line: int, grammar: re.Pattern) -> None:
    """Raise for letters that are no move: python-chess skips what it does not know, and Sf3 would be f3."""
    text = re.sub(r"(?m)^%.*$", "", text)  # a line for other programs
    text = "\n".join("" if TAG.match(row) else row for row in text.split("\n"))
    # A comment leaves its line ends behind, so that lines can be counted.
    text = re.sub(r"\{[^}]*\}|;[^\n]*", lambda comment: "\n" * comment[0].count("\n"), text)
    for number, row in enumerate(text.split("\n"), start=line):
        for word in re.findall(r"[^\s()]+", row):
            left = grammar.sub("", word).replace("e.p.", "").replace("ep", "")
            if any(sign.isalpha() or "\u2654" <= sign <= "\u265f" for sign in left):
                raise _Strange(word, number)


def _tokens(board) -> tuple[int, ...]:
    row = [0] * SQUARES
    for square, piece in board.piece_map().items():
        row[square] = piece.piece_type + (0 if piece.color else 6)
    return tuple(row)
