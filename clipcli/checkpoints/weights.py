"""What a checkpoint's weight files must hold, by name and shape, whoever reads them."""

import re
from collections.abc import Mapping

import numpy as np

from clipcli.errors import DamagedModelError
from clipcli.scoring import Logits

Shapes = Mapping[str, tuple[int, ...]]

LOGIT_SCALE = "logit_scale"
LOGIT_BIAS = "logit_bias"

# Constants that older versions of the reference saved as if they were weights, and BERT's pooler, which neither
# Chinese-CLIP nor AltCLIP runs.
_DROPPED = re.compile(r"\.(position_ids|token_type_ids|pooler\.dense\.(weight|bias))$")

# Newer spelling of a checkpoint's key -> the one that the networks have.
_RENAMED = ((re.compile(r"^(vision_model\.encoder)\.layer\."), r"\1.layers."),)


def network_name(stored: str) -> str:
    """The name that the networks have for a tensor."""
    for pattern, replacement in _RENAMED:
        stored = pattern.sub(replacement, stored)
    return stored


def check_shapes(found: Shapes, expected: Shapes, where: str) -> None:
    """Compare what a checkpoint's files hold with what its network needs, both by the network's names.

    Raises:
        DamagedModelError: A tensor is missing, unexpected, or of another shape; the message names it, and `where`.
    """
    found = {name: shape for name, shape in found.items() if not _DROPPED.search(name)}
    problems = [
        *(f"{name} is missing" for name in sorted(expected.keys() - found.keys())),
        *(f"{name} is unexpected" for name in sorted(found.keys() - expected.keys())),
        *(
            f"{name} has shape {list(found[name])}, config.json means {list(shape)}"
            for name, shape in sorted(expected.items())
            if name in found and found[name] != shape
        ),
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise DamagedModelError(
            f"{where} does not fit its config.json: {problems[0]}{more}",
            hint="the checkpoint is incomplete, or its config.json belongs to another; fetch it again",
        )


def logits_of(values: Mapping[str, float], where: str) -> Logits:
    """How a checkpoint turns cosines into logits, from the two numbers that it stores: exp of one, and the other.

    Raises:
        DamagedModelError: There is no scale, or a number is not finite.
    """
    if LOGIT_SCALE not in values:
        raise DamagedModelError(f"{where} does not fit its config.json: {LOGIT_SCALE} is missing")
    with np.errstate(over="ignore"):
        scale, bias = float(np.exp(np.float32(values[LOGIT_SCALE]))), values.get(LOGIT_BIAS, 0.0)
    if not np.isfinite(scale):
        raise DamagedModelError(f"{where}: {LOGIT_SCALE} is {values[LOGIT_SCALE]}, whose exp is not a finite number")
    if not np.isfinite(bias):
        raise DamagedModelError(f"{where}: {LOGIT_BIAS} is {bias}, which is not a finite number")
    return Logits(scale, bias)


def unreadable(path: object, reason: object) -> DamagedModelError:
    """The error for a weight file that cannot be read."""
    return DamagedModelError(
        f"{path} cannot be read: {reason}", hint="fetch the checkpoint again; the file is likely incomplete"
    )
