"""What `fit`, `infer` and `evaluate` ask of data before they begin: errors that say what does not fit together."""

import torch
from torch import Tensor

from evovae.likelihoods.base import check_support
from evovae.model import TVAE

BLOCK = 2**16  # data points that are looked at together


@torch.no_grad()
def check_data(model: TVAE, x: Tensor, observed: Tensor) -> None:
    """Fail for data that a model cannot have drawn.

    Parameters
    ----------
    model
        The generative model.
    x, observed
        The data, and which of their values are seen: two of (N, D).

    Raises
    ------
    ValueError
        For shapes that do not fit together, or observed values that are not finite, or impossible.
    """
    if x.ndim != 2 or x.shape != observed.shape:
        raise ValueError(f"x {tuple(x.shape)} and observed {tuple(observed.shape)} must both be (N, D)")
    if not len(x):
        raise ValueError("there are no data points: x has 0 rows")
    if observed.dtype != torch.bool:
        raise TypeError(f"observed is {observed.dtype}, but True or False is needed for each value: observed.bool()")
    for part, seen in zip(x.split(BLOCK), observed.split(BLOCK), strict=True):
        if not (torch.isfinite(part) | ~seen).all():
            raise ValueError("x holds values that are not finite; mark them as missing with observed=torch.isfinite(x)")
        if not model.likelihood.admits(part):  # as a whole, before what is seen is picked out
            check_support(model.likelihood, part[seen], "x has")
    H = model.prior.n_latents
    nothing = torch.zeros(1, 1, H, dtype=torch.bool, device=x.device)
    try:
        width = model.decode(nothing).shape[-1]
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"the decoder does not take the {H} latents of the prior: {reason}") from error
    if x.shape[1] not in (width, width + model.likelihood.coordinates):
        raise ValueError(f"the decoder gives {width} values for each data point, but x has {x.shape[1]}")
