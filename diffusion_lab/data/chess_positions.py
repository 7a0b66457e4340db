"""Chess positions from PGN files, through python-chess (the `chess` extra)."""

from __future__ import annotations

from pathlib import Path

import torch

from diffusion_lab.data.dataset import Dataset
from diffusion_lab.errors import DataError

SQUARES = 64
TOKENS = ("empty", "P", "N", "B", "R", "Q", "K", "p", "n", "b", "r", "q", "k")


def load_chess(path: str | Path) -> Dataset:
    """Every position of every game as tokens (N, 64) int64 of 13 kinds, a1 first and h8 last; repeated ones kept once.

    `path` is a PGN file or a folder of them. The last tenth of the games, at least one, is
    held out, less the positions that training games have too (the first moves of a game are everybody's).

    Raises:
        DataError: python-chess is not installed; a file that is empty, corrupt or has an illegal move; one game only.
    """
    path = Path(path)
    files = sorted(path.glob("*.pgn")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path} holds no .pgn file")
    games = [game for file in files for game in _games(file)]
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
    )


def _games(file: Path) -> list[list[tuple[int, ...]]]:
    """The positions of each game of a file, the starting position first."""
    try:
        import chess.pgn
    except ImportError as fault:
        raise DataError("python-chess is needed for PGN files; `pip install diffusion-lab[chess]` adds it") from fault

    class Strict(chess.pgn.GameBuilder):
        """Raises where python-chess would log the fault on stderr and go on."""

        def handle_error(self, error: Exception) -> None:
            raise error

    games = []
    try:
        with open(file, encoding="utf-8-sig") as text:
            while (game := chess.pgn.read_game(text, Visitor=Strict)) is not None:
                board = game.board()
                positions = [_tokens(board)]
                for move in game.mainline_moves():
                    board.push(move)
                    positions.append(_tokens(board))
                games.append(positions)
    except ValueError as fault:
        raise DataError(f"{file}, game {len(games) + 1}: {fault}") from fault
    if not any(len(positions) > 1 for positions in games):
        raise DataError(f"{file} has no game with a move; is it a PGN file?")
    return games


def _tokens(board) -> tuple[int, ...]:
    row = [0] * SQUARES
    for square, piece in board.piece_map().items():
        row[square] = piece.piece_type + (0 if piece.color else 6)
    return tuple(row)
