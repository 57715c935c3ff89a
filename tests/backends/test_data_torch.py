"""Tensors that are numbers in memory stay out of the pickle; others are pickled as ever."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxpool.backends.processes._codec import decode, encode
from tests.backends import process_jobs as jobs
from tests.backends.channel_parts import Ring
from tests.backends.process_pools import outcome
from tests.backends.travels import pickled, sent

torch = pytest.importorskip("torch")
N = 20_000
DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.bool),
    *(torch.uint8, torch.int64),
]


def same(found, tensor, strides=True):
    """Whether *found* is what pickle makes of *tensor*; *strides* may differ without gaps."""
    expected = pickled(tensor)
    assert type(found) is type(expected)
    for name in ("dtype", "shape", "requires_grad", "is_leaf", "device", "layout"):
        assert getattr(found, name) == getattr(expected, name), name
    if strides:
        assert found.stride() == expected.stride()
    assert not found._is_view()
    return torch.equal(found, expected)


@pytest.mark.parametrize("lent", [True, False])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_large_ones(dtype, lent):
    """Whole, turned, and of a parameter."""
    tensor = torch.arange(2 * N).to(dtype)
    for each in (tensor, tensor.reshape(400, 100).T, tensor[N:]):
        found, inside, beside = sent({"a": [each]}, lent)
        assert same(found["a"][0], each)
        assert (inside < 500, beside) == (True, each.numel() * each.element_size())
        found["a"][0].zero_()
        assert not found["a"][0].any()


@pytest.mark.parametrize("lent", [True, False])
def test_slices(lent):
    """Only their part travels, however small."""
    tensor = torch.arange(20 * N, dtype=torch.float32).reshape(-1, 20)
    slices = [tensor[n : n + 10] for n in range(0, 1000, 10)]
    found, inside, beside = sent(slices, lent)
    assert all(map(same, found, slices))
    assert inside + beside < 100 * 1000
    for part in (tensor[:, 3:5], tensor[::2], tensor.T[::3, 1:], tensor[5, 5]):
        found, inside, beside = sent([part], lent)
        assert same(found[0], part, strides=False)
        assert inside + beside < 4 * part.numel() + 500
    wide = torch.ones(1).expand(100, N)
    found, inside, beside = sent(wide)
    assert same(found, wide)
    assert inside + beside < 500


@st.composite
def tensors(draw):
    """Tensors of all kinds, whole or in part, turned, with or without a gradient."""
    shape = draw(st.lists(st.integers(0, 5), max_size=3))
    dtype = draw(st.sampled_from(DTYPES))
    tensor = torch.arange(math.prod(shape)).to(dtype).reshape(shape)
    if draw(st.booleans()):
        tensor = tensor.permute(draw(st.permutations(range(tensor.dim()))))
    if tensor.dim() and draw(st.booleans()):
        tensor = tensor[draw(st.integers(0, 2)) :: draw(st.integers(1, 3))]
    if dtype.is_floating_point and draw(st.booleans()):
        tensor = tensor.detach().requires_grad_()
        if draw(st.booleans()):
            tensor = tensor.clone()  # no leaf
    return tensor


@given(tensors())
@settings(deadline=None)
def test_any_tensor(tensor):
    """The same as with pickle alone, but for gaps."""
    found, _, _ = sent([tensor])
    assert same(found[0], tensor, strides=False)


def test_numbers_of_eight_bits():
    """torch 2.14 cannot read what pickle writes of them."""
    tensor = torch.arange(N).to(torch.float8_e4m3fn)
    found, _, beside = sent([tensor])
    assert (found[0].dtype, beside) == (tensor.dtype, N)
    assert torch.equal(found[0].view(torch.uint8), tensor.view(torch.uint8))


class Marked(torch.Tensor):
    """A type of its own."""


def marked():
    """A tensor with an attribute."""
    tensor = torch.arange(N)
    tensor.unit = "m"
    return tensor


def of_complex(change):
    """A tensor that is read through a change of what lies in memory."""
    return change(torch.ones(N, dtype=torch.complex64) * (1 + 2j))


OTHERS = {
    "a parameter": lambda: torch.nn.Parameter(torch.ones(N)),
    "of another type": lambda: torch.arange(N).as_subclass(Marked),
    "with an attribute": marked,
    "sparse": lambda: torch.eye(100).to_sparse(),
    "conjugated": lambda: of_complex(torch.conj),
    "of imaginary parts": lambda: of_complex(torch.conj).imag,
    "without memory": lambda: torch.ones(N, device="meta"),
    "empty": lambda: torch.ones(0, 3),
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_others_are_as_pickle_makes_them(make):
    """All that is known of them stays known."""
    tensor = make()
    found, _, _ = sent([tensor])
    expected = pickled(tensor)
    assert type(found[0]) is type(expected)
    assert (found[0].__dict__, found[0].requires_grad) == (
        expected.__dict__,
        expected.requires_grad,
    )
    assert (found[0].is_conj(), found[0].is_neg()) == (expected.is_conj(), expected.is_neg())
    assert repr(found[0]) == repr(expected)


def test_two_views_of_one_memory_are_two():
    """As with pickle alone."""
    tensor = torch.zeros(N)
    for a, b in (sent((tensor, tensor.view(2, -1)))[0], pickled((tensor, tensor.view(2, -1)))):
        a += 1
        assert not b.any()
    a, b = sent((tensor, tensor))[0]
    assert a is b


def test_models():
    """Their parameters stay out of the pickle, and one that is used twice is one."""
    model = torch.nn.Sequential(torch.nn.Linear(200, 200), torch.nn.Linear(200, 200))
    model[1].weight = model[0].weight
    found, inside, beside = sent(model)
    assert beside == 4 * 200 * 200
    assert inside < 10_000
    assert found[1].weight is found[0].weight
    assert type(found[0].weight) is torch.nn.Parameter
    assert torch.equal(found[0].weight, model[0].weight)


def test_what_is_lent_is_known_to_be_in_use():
    """As long as a part of the tensor is there."""
    ring = Ring(1 << 20).buffers
    loans = []
    tensor = decode(encode(torch.arange(N), ring, "the item"), ring, loans)
    part = tensor[5:7]
    del tensor
    assert loans[0]() is not None
    del part
    assert loans[0]() is None


def test_there_and_back(shared):
    """Through processes."""
    tensor = torch.arange(N)
    assert same(outcome(shared, jobs.same, tensor).value, tensor)
