"""Activation functions by the names that `hidden_act` uses.

Every kind of GELU is x times sigmoid(x p(x^2)) with a polynomial p:

- quick-GELU has the constant 1.702 (arXiv:1606.08415, section 2); SiLU has 1.
- tanh-GELU is x (1 + tanh(y)) / 2 with y = sqrt(2/pi) (x + 0.044715 x^3), and (1 + tanh(y)) / 2 = sigmoid(2 y).
- GELU is x Phi(x), Phi being the normal distribution, and Phi(x) = sigmoid(log(Phi(x) / Phi(-x))). That logarithm is an
  odd and smooth function of x; numpy has no erf, but it has exp, and a polynomial of degree 6 does the rest.
"""

import math
from collections.abc import Callable

import numpy as np

from clipcli.scoring import Floats

Activation = Callable[[Floats], Floats]

_TANH = 2 * math.sqrt(2 / math.pi)

# Of x^2, the constant first. Fitted to log(Phi(x) / Phi(-x)) / x between 0 and 6 by least squares, weighted until no
# error of x Phi(x) stood out: the largest is 7e-8. What float32 rounds is as much from 1 on.
_NORMAL = (
    1.59576854, 7.26682983e-2, -6.60534648e-5, -1.10546755e-4, 7.94813895e-6, -2.67566238e-7, 3.62785093e-9
)  # fmt: skip
# The square of the largest x that the polynomial is for. Beyond it, Phi is 0 or 1 to the last digit of float32.
_FITTED_UNTIL = np.float32(36)

# Values that are taken through all steps together, so that they stay in a core's cache.
_BLOCK = 2**16


def _gated(*polynomial: float) -> Activation:
    """Make the function that turns x into x * sigmoid(x * p(x^2)), in place; p's constant comes first."""
    *lower, highest = (np.float32(factor) for factor in polynomial)

    def activate(x: Floats) -> Floats:
        gate = np.full_like(x, -highest)
        if lower:
            square = np.minimum(np.square(x), _FITTED_UNTIL)
            for factor in reversed(lower):
                gate *= square
                gate -= factor
        gate *= x
        with np.errstate(over="ignore"):  # where the gate is closed
            np.exp(gate, out=gate)
        gate += 1
        return np.divide(x, gate, out=x)

    return _in_blocks(activate)


def _in_blocks(activate: Activation) -> Activation:
    def all_blocks(x: Floats) -> Floats:
        flat = x.reshape(-1)
        for start in range(0, len(flat), _BLOCK):
            activate(flat[start : start + _BLOCK])
        return x

    return all_blocks


def _relu(x: Floats) -> Floats:
    return np.maximum(x, 0, out=x)


_gelu = _gated(*_NORMAL)
_gelu_tanh = _gated(_TANH, 0.044715 * _TANH)
_silu = _gated(1)

ACTIVATIONS: dict[str, Activation] = {
    "quick_gelu": _gated(1.702),
    "gelu": _gelu,
    "gelu_python": _gelu,
    "gelu_new": _gelu_tanh,
    "gelu_fast": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "gelu_python_tanh": _gelu_tanh,
    "relu": _relu,
    "silu": _silu,
    "swish": _silu,
}
"""Each replaces its argument, a contiguous array of any shape, and returns it."""
