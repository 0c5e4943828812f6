"""Every known pattern of a wrong output fails and is recognised; a right output and mere noise get no hint."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_ttbringup.comparison import compare_tensors

AXES = ("user", "head", "position", "dim")


def one_user(x, noise):
    x[1] = noise[1]
    return x


def one_user_shifted(x, _):
    x[3] = np.roll(x[3], 1, axis=1)
    return x


def one_user_shrunk(x, _):
    x[2] *= 0.1
    return x


def one_head(x, noise):
    x[:, 4] = noise[:, 4]
    return x


def late_positions(x, noise):
    x[:, :, 30:] = noise[:, :, 30:]
    return x


def shifted_positions(x, _):
    return np.roll(x, 1, axis=2)


def shifted_back(x, _):
    return np.roll(x, -1, axis=2)


def swapped_heads(x, _):
    return x[:, [0, 3, 2, 1, 4]]


def repeated_head(x, _):
    return x[:, [0, 0, 0, 1, 1]]


def copied_user(x, _):
    x[2] = x[1]
    return x


def transposed(x, _):
    return x.swapaxes(0, 1).reshape(x.shape)


def rotary_order(x, _):
    return x.reshape(*x.shape[:-1], 8, 2).swapaxes(-1, -2).reshape(x.shape)


def zeros(x, _):
    return x * 0


def negated(x, _):
    return -x


PATTERNS = {
    one_user: "one user differs: look at its position or its page-table row",
    one_user_shifted: "one user differs: look at its position or its page-table row "
    "(user 3: the output equals the expected shifted by one along position)",
    one_user_shrunk: "one user differs: look at its position or its page-table row "
    "(user 2: scale off by a constant factor 0.100, and PCC can not see it)",
    one_head: "one head differs: look at the head split and at which KV head it reads",
    late_positions: "positions from 30 on differ: look at the cache update and the mask there",
    shifted_positions: "the output equals the expected shifted by one along position",
    shifted_back: "the output equals the expected shifted by minus one along position",
    swapped_heads: "heads are mixed up: output head 1 holds expected head 3, output head 3 holds expected head 1",
    repeated_head: "heads are mixed up: output head 1 holds expected head 0, output head 2 holds expected head 0 "
    "and 2 more",
    copied_user: "one user is wrong: output user 2 holds expected user 1",
    transposed: "the output is the expected with user and head exchanged before a reshape",
    rotary_order: "dims are mixed up: output dim 1 holds expected dim 2, output dim 2 holds expected dim 4 "
    "and 12 more: rotary order, Hugging Face's halves against Meta's pairs",
    zeros: "the output is all zeros: was it computed and written at all?",
    negated: "the sign is flipped (scale -1.000)",
}


@pytest.mark.parametrize("spoil", PATTERNS, ids=lambda spoil: spoil.__name__)
def test_pattern_fails_and_is_recognised(output, expected, random, spoil):
    noise = random.standard_normal(output.shape)
    result = compare_tensors(spoil(output.copy(), noise), expected, pcc_threshold=0.999, axes=AXES)
    assert not result.passed
    assert result.hint == PATTERNS[spoil]
    assert PATTERNS[spoil] in result.message()


def test_square_transposition(random):
    expected = random.standard_normal((2, 24, 24))
    result = compare_tensors(expected.swapaxes(-1, -2), expected, pcc_threshold=0.999)
    assert result.hint == "the output is the transposed: axis 1 and axis 2 are exchanged"


def test_transposed_shape(random):
    expected = random.standard_normal((2, 24, 32))
    right = compare_tensors(expected.swapaxes(-1, -2), expected, pcc_threshold=0.999)
    wrong = compare_tensors(random.standard_normal((2, 32, 24)), expected, pcc_threshold=0.999)
    assert (right.reason, right.hint) == ("shape", "the output is the transposed of the reference")
    assert (wrong.reason, wrong.hint) == ("shape", "the last two dimensions are exchanged")


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((1, 8, 40), "the shapes differ only in dimensions of length 1: reshape one of them"),
        ((32, 64), "tile padding"),
        ((8, 41), ""),
    ],
    ids=["ones", "padding", "other"],
)
def test_shape_hints(random, shape, hint):
    result = compare_tensors(random.standard_normal(shape), random.standard_normal((8, 40)), pcc_threshold=0.999)
    assert result.reason == "shape"
    assert hint in result.hint
    assert bool(hint) == bool(result.hint)


@pytest.mark.parametrize(
    ("scale", "cause"), [(0.963, "LoFi shrinks"), (0.5, "PCC can not see"), (1.2, "PCC can not see")]
)
def test_scale(output, expected, scale, cause):
    result = compare_tensors(output * scale, expected, pcc_threshold=0.999, rtol=0.001, axes=AXES)
    assert result.reason == "tolerance"
    assert result.hint.startswith(f"scale off by a constant factor {scale:.3f}")
    assert cause in result.hint


def test_offset(output, expected):
    result = compare_tensors(output + 0.5, expected, pcc_threshold=0.999, atol=0.1, axes=AXES)
    assert result.hint == "a constant 0.5 was added, and PCC can not see it"


def test_noise_has_no_pattern(expected, random):
    for amount in (0.1, 1.0, 100.0):
        noisy = expected + amount * random.standard_normal(expected.shape)
        result = compare_tensors(noisy, expected, pcc_threshold=0.999, axes=AXES)
        assert not result.passed
        assert result.hint == ""


def test_a_likely_pattern_is_not_called_equal(expected, random):
    # A shift explains nine tenths of the difference, but what is left is too much to speak of shifted values.
    noisy = np.roll(expected, 1, axis=2) + 0.3 * random.standard_normal(expected.shape)
    result = compare_tensors(noisy, expected, pcc_threshold=0.999, axes=AXES)
    assert not result.passed
    assert result.hint == ""


def test_smooth_data_is_not_called_shifted(random):
    # Neighbours are alike, so a shift by one has a PCC of 0.999 whatever went wrong.
    expected = np.sin(np.linspace(0, 30, 4000)).reshape(4, 1000) + np.arange(4)[:, None]
    noisy = expected + 0.05 * random.standard_normal(expected.shape)
    result = compare_tensors(noisy, expected, pcc_threshold=0.9999, axes=("user", "position"))
    assert not result.passed
    assert "shifted" not in result.hint


def test_a_right_output_has_no_hint(output, expected):
    assert compare_tensors(output, expected, pcc_threshold=0.999, axes=AXES).hint == ""
