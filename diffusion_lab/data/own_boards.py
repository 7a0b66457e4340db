"""Boards of the user's own: positions of chess games, or any board written with one sign for each cell."""

from __future__ import annotations

from math import isqrt

import torch

from diffusion_lab.data.chess_positions import TOKENS as PIECES
from diffusion_lab.data.chess_positions import load_chess
from diffusion_lab.data.dataset import Dataset
from diffusion_lab.data.own_data import OwnData
from diffusion_lab.data.own_lines import read_lines
from diffusion_lab.data.storage import held_out
from diffusion_lab.errors import DataError

LARGEST = 400
"""Cells of a board at most: the network looks from each cell at each other."""
SIGNS = 64
"""Kinds of cell at most."""


def load_own_boards(own: OwnData) -> Dataset:
    """Chess positions from a `.pgn` file or a folder of them (see `load_chess`), or boards from a text file.

    A line of the text is a board, each sign a cell, such as `X.O/.X./..O`: a slash ends a row, spaces and `|` are
    left out, and without slashes a board of 4, 9, 16, ... cells is square. Repeated boards count once; a fixed tenth is
    held out. `info` has `K`, the number of tokens; `symbols`, how they are drawn; and `columns`, the cells of a row.

    Raises:
        DataError: see `load_chess` and `read_lines`; boards that differ in shape, more than 400 cells or 64 signs,
            boards that are all alike, or fewer than two.
    """
    if own.path.is_dir() or own.path.suffix.lower() == ".pgn":
        return _chess(own)
    rows = [
        (number, tuple("".join(line.replace("|", "").split()).strip("/").split("/")))
        for number, line in enumerate(read_lines(own.path), start=1)
        if line.strip()
    ]
    shape = tuple(map(len, rows[0][1]))
    for number, board in rows:
        if tuple(map(len, board)) != shape or len(set(map(len, board))) > 1:
            alike = f", and all have those of line {rows[0][0]}: {_lengths(rows[0][1])}" if board != rows[0][1] else ""
            raise DataError(
                f"{own.path}, line {number}: rows of {_lengths(board)} cells; a board has rows of one length{alike}"
            )
    boards = list(dict.fromkeys("".join(board) for _, board in rows))
    symbols, cells = sorted({sign for board in boards for sign in board}), len(boards[0])
    if not 2 <= cells <= LARGEST:
        raise DataError(f"{own.path} has boards of {cells} cells; 2 to {LARGEST} are accepted")
    if not 2 <= len(symbols) <= SIGNS:
        raise DataError(f"{own.path} has {len(symbols)} different signs in its boards; 2 to {SIGNS} are accepted")
    columns = shape[0] if len(shape) > 1 or isqrt(cells) ** 2 != cells else isqrt(cells)
    tokens = torch.tensor([[symbols.index(sign) for sign in board] for board in boards])
    train, test = held_out(len(boards), where=own.path)
    repeated = len(rows) - len(boards)
    return Dataset(
        name=f"{own.name} ({len(train):,} to train on)",
        source="own",
        kind="board",
        train=tokens[train],
        test=tokens[test],
        info={"K": len(symbols), "symbols": tuple(symbols), "columns": columns},
        notes=(
            f"{len(rows):,} boards of {cells // columns} x {columns} cells, with the signs {' '.join(symbols)}",
            *([f"{repeated:,} of them repeat others and count once"] if repeated else []),
        ),
    )


def _chess(own: OwnData) -> Dataset:
    games = load_chess(own.path)
    # As a board is printed: the eighth rank on top.
    train, test = (tokens.reshape(-1, 8, 8).flip(1).flatten(1) for tokens in (games.train, games.test))
    return Dataset(
        name=f"{own.name} ({len(train):,} to train on)",
        source="own",
        kind="board",
        train=train,
        test=test,
        info={"K": len(PIECES), "symbols": (" ", *PIECES[1:]), "columns": 8},
        notes=(f"{games.name}, a repeated position counted once", *games.notes),
    )


def _lengths(board: tuple[str, ...]) -> str:
    return ", ".join(str(len(row)) for row in board[:10])
