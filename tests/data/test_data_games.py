"""Tic-tac-toe against what is known of it, bits, and chess positions against python-chess's own notation."""

from __future__ import annotations

import itertools
import random
import re
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffusion_lab.data import load
from diffusion_lab.data.chess_positions import TOKENS, load_chess
from diffusion_lab.data.games import bits_to_board, board_to_bits, enumerate_tic_tac_toe, is_legal
from diffusion_lab.errors import DataError

ALL = torch.tensor(list(itertools.product(range(3), repeat=9)))


def test_the_enumeration_has_the_known_counts():
    boards = enumerate_tic_tac_toe()
    assert boards.shape == (5478, 9) and len(boards.unique(dim=0)) == 5478
    # Positions after 0..9 moves, as everybody counts them.
    assert (boards != 0).sum(dim=1).bincount().tolist() == [1, 9, 72, 252, 756, 1260, 1520, 1140, 390, 78]


def test_legal_boards_are_those_with_fair_marks_and_a_winner_who_moved_last():
    """By rules instead of play: nobody has won, or X has and moved last, or O has and moved last, and not both."""
    lead = (ALL == 1).sum(dim=1) - (ALL == 2).sum(dim=1)
    fair = (lead == 0) | (lead == 1)
    assert int(fair.sum()) == 6046, "counting marks alone admits more"
    grid = ALL.reshape(-1, 3, 3)

    def won(mark: int) -> torch.Tensor:
        own = grid == mark
        diagonals = own.diagonal(dim1=1, dim2=2).all(1) | own.flip(2).diagonal(dim1=1, dim2=2).all(1)
        return own.all(1).any(1) | own.all(2).any(1) | diagonals

    by_rules = fair & ~(won(1) & (lead == 0)) & ~(won(2) & (lead == 1))
    assert torch.equal(is_legal(ALL), by_rules)
    assert int(by_rules.sum()) == 5478


def test_tokens_out_of_range_are_not_legal():
    assert is_legal(torch.tensor([[0] * 9, [3] + [0] * 8, [-1] + [0] * 8])).tolist() == [True, False, False]
    assert is_legal(torch.empty(0, 9, dtype=torch.long)).shape == (0,)


@pytest.mark.parametrize("boards", [torch.zeros(9).long(), torch.zeros(2, 8).long(), torch.zeros(2, 9)])
def test_what_is_no_board_is_refused(boards: torch.Tensor):
    with pytest.raises(DataError, match="boards must"):
        is_legal(boards)


def test_bits_by_hand():
    bits = board_to_bits(torch.tensor([[0, 1, 2]]))
    assert bits.tolist() == [[-1, -1, -1, 1, 1, -1]] and bits.dtype == torch.float32


@given(st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=1, max_size=5), st.floats(0.01, 3))
def test_bits_and_back(rows: list[list[int]], size: float):
    boards = torch.tensor(rows)
    back, valid = bits_to_board(size * board_to_bits(boards))
    assert torch.equal(back, boards) and valid.all()


def test_the_code_without_a_token_is_told():
    bits = board_to_bits(ALL[:2])
    bits[1, 4:6] = 1
    boards, valid = bits_to_board(bits)
    assert valid.tolist() == [True, False] and boards[1, 2] == 3
    assert not is_legal(boards)[1]


def test_bits_that_are_refused():
    with pytest.raises(DataError, match=r"0, 1 or 2, got 0\.\.3"):
        board_to_bits(torch.tensor([[0, 3]]))
    with pytest.raises(DataError, match="integer tokens"):
        board_to_bits(torch.zeros(1, 9))
    with pytest.raises(DataError, match=r"\(B, 2 \* cells\), got \(1, 7\)"):
        bits_to_board(torch.ones(1, 7))


def test_the_data_set_is_the_enumeration():
    data = load("games")
    assert torch.equal(data.train, enumerate_tic_tac_toe()) and torch.equal(data.test, data.train)
    assert data.info["K"] == 3


def write_games(path: Path, count: int, seed: int = 0) -> list[list[str]]:
    """Games of random legal moves; the placement field of FEN for each position of each game."""
    chess_pgn = pytest.importorskip("chess.pgn")
    import chess

    rng = random.Random(seed)
    placements = []
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(count):
            board = chess.Board()
            seen = [board.board_fen()]
            for _ in range(30):
                if board.is_game_over():
                    break
                board.push(rng.choice(list(board.legal_moves)))
                seen.append(board.board_fen())
            print(chess_pgn.Game.from_board(board), file=file, end="\n\n")
            placements.append(seen)
    return placements


def placement(tokens: torch.Tensor) -> str:
    """The placement field of FEN: rank 8 first, runs of empty squares as numbers."""
    ranks = []
    for rank in tokens.reshape(8, 8).flip(0):
        groups = itertools.groupby("." if token == 0 else TOKENS[token] for token in rank.tolist())
        ranks.append("".join(str(len(list(run))) if sign == "." else "".join(run) for sign, run in groups))
    return "/".join(ranks)


def test_chess_positions(tmp_path: Path):
    placements = write_games(tmp_path / "chess" / "a.pgn", 6) + write_games(tmp_path / "chess" / "b.pgn", 6, seed=1)
    data = load("chess", root=tmp_path)
    assert data.kind == "board" and data.info["K"] == 13 and data.name == "chess positions of 12 games"
    train, test = ({placement(row) for row in split} for split in (data.train, data.test))
    assert train == {position for game in placements[:-1] for position in game}
    assert test == set(placements[-1]) - train
    assert len(train) == len(data.train) and len(test) == len(data.test)


def test_chess_files_that_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    file = tmp_path / "mine.pgn"
    write_games(file, 2)
    good = file.read_text()
    for content, fault in {
        "": "no game with a move",
        "this is a letter to a friend": "mine.pgn",
        good.replace("\n1. ", "\n1. Ke5 ", 1): "mine.pgn, from line 1 on, game 1: illegal san: 'Ke5'",
        good[: good.index("[Event", 5)]: "has one game",
        good[: good.index("[Event", 5)] * 2: "repeat the others",
    }.items():
        file.write_text(content)
        with pytest.raises(DataError, match=fault) as caught:
            load("chess", root=tmp_path)
        assert str(tmp_path) in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no \.pgn file"):
        load_chess(tmp_path / "empty")
    file.write_bytes(b"\xff\xfe" + good.encode("utf-16"))
    with pytest.raises(DataError, match=r"mine\.pgn"):
        load_chess(file)
    assert capfd.readouterr().err == ""


GERMAN = str.maketrans("QRBN", "DTLS")
FRENCH = str.maketrans("KQRBN", "RDTFC")


@pytest.mark.parametrize("language", [GERMAN, FRENCH, str.maketrans("N", "\u2658")])
def test_piece_letters_of_another_language_are_refused_with_file_line_and_move(language: dict, tmp_path: Path):
    moves = ["1. e4 e5 2. Nf3 {a comment with", "Sf6 inside} Nc6 ; and Sf6 here", "3. Bb5 Qe7 4. O-O *"]
    foreign = [re.sub(r"[KQRBN](?=[a-h1-8x])", lambda sign: sign[0].translate(language), line) for line in moves]
    game = '[Event "Sf3"]\n[Site "?"]\n\n'
    file = tmp_path / "mine.pgn"
    file.write_text(f"{game}{chr(10).join(moves)}\n\n{game}{chr(10).join(foreign)}\n", encoding="utf-8")
    first = re.search(r"\S+f3", foreign[0])[0]
    with pytest.raises(DataError, match=rf"{file}, line 11, game 2: '{first}' is no move") as caught:
        load_chess(file)
    assert "(and" not in str(caught.value)


def test_a_pawn_with_a_letter_is_refused(tmp_path: Path):
    """In Dutch P is the knight, and python-chess reads Pf3 as a move of the pawn."""
    (tmp_path / "mine.pgn").write_text("1. e4 e5 2. Pf3 Pc6 *\n")
    with pytest.raises(DataError, match=r"line 1, game 1: 'Pf3' is no move"):
        load_chess(tmp_path)


def test_one_bad_game_of_hundreds_is_left_out_and_told(tmp_path: Path):
    file = tmp_path / "mine.pgn"
    placements = write_games(file, 120)
    good = load_chess(file)
    text = file.read_text()
    at = text.index("[Event", len(text) // 3)
    file.write_text(f'{text[:at]}[Event "bad"]\n\n1. e4 e5 2. Ke3 *\n\n{text[at:]}')
    data = load_chess(file)
    assert torch.equal(data.train, good.train) and torch.equal(data.test, good.test) and len(placements) == 120
    (note,) = data.notes
    line = text[:at].count("\n") + 1
    assert note.startswith("1 of 121 games") and f"{file}, from line {line} on, game " in note and "'Ke3'" in note


def test_names_in_latin_1_and_games_without_tags(tmp_path: Path):
    file = tmp_path / "mine.pgn"
    file.write_bytes('[White "M\xfcller"]\n\n1. e4 e5 *\n\n1. d4 d5 2. c4 *\n\n1. c4 *\n'.encode("latin-1"))
    assert load_chess(file).name == "chess positions of 3 games"


def test_chess_without_python_chess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine.pgn").write_text("1. e4 e5 *")
    monkeypatch.setitem(sys.modules, "chess", None)
    monkeypatch.setitem(sys.modules, "chess.pgn", None)
    with pytest.raises(DataError, match=r"pip install diffusion-lab\[chess\]"):
        load("chess", root=tmp_path)
