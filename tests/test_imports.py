"""What works without any of the libraries that are optional, and what is said where one is needed."""

import subprocess
from textwrap import dedent

import pytest
from helpers import python

OPTIONAL = (
    "IPython dask fastapi h5py httpx imagecodecs llvmlite matplotlib numba pandas PIL platformdirs polars pyarrow rich"
    " skimage sklearn soundfile starlette tensorboard tifffile triton typer uvicorn xarray zarr"
).split()
BLOCK = f"""
import sys
class But:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {OPTIONAL} else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = [But(finder) for finder in sys.meta_path]
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    return python(BLOCK + dedent(script))


def test_importing_loads_next_to_nothing():
    """Half of what Python itself takes to start, or so; far below a second."""
    done = run("""
        import time
        before = time.process_time()
        import evovae
        print(time.process_time() - before < 0.5, "torch" in sys.modules, "numpy" in sys.modules)
    """)
    assert done.stdout == "True False False\n", done.stderr


def test_the_core_needs_no_extra():
    done = run("""
        import warnings
        warnings.simplefilter("error")
        import numpy as np, torch, evovae
        from evovae import LowRankPatches, NetworkPatches, Search, States, TVAE, decoders, likelihoods, priors
        noisy = np.random.default_rng(0).normal(np.kron([[60, 180], [120, 90]], np.ones((10, 10))), 15)
        model = LowRankPatches(4, 6, 4, Search(2, 3), 1, rank=1)
        print(evovae.denoise(noisy, preset=model, rng=0).shape)
        print(evovae.denoise(noisy, preset=NetworkPatches(4, 6, 4, Search(2, 3), 1), rng=0).shape)
        print(evovae.inpaint(noisy, noisy > 190, preset=model, rng=0).shape)
        print(evovae.fit_denoiser(noisy, preset=model, rng=0).restore(noisy).shape)
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(20, 5, generator=generator)
        tvae = TVAE(decoders.MLP(4, 8, 5, generator=generator), likelihoods.Gaussian(), priors.Bernoulli(4))
        states = States.random(20, 6, 4, generator)
        optimizer = torch.optim.Adam(tvae.decoder.parameters(), lr=0.01)
        common = {"search": Search(2, 2), "generator": generator}
        epochs = evovae.fit(tvae, x, states=states, optimizer=optimizer, epochs=2, batch_size=10, **common)
        print(len(list(epochs)))
        print(evovae.infer(tvae, x, n_states=6, steps=2, **common).lpj.shape)
    """)
    shape = "(20, 20)\n"
    assert done.stdout == shape * 4 + "2\ntorch.Size([20, 6])\n", done.stderr


@pytest.mark.parametrize(
    ("door", "what", "extra"),
    [
        ("import evovae.estimators", "evovae.estimators needs sklearn", "sklearn"),
        ("from evovae.estimators import Denoiser", "evovae.estimators needs sklearn", "sklearn"),
        ("import evovae; evovae.ProgressBar()", "a progress bar needs rich", "cli"),
        ("import evovae.cli", "the command line needs typer", "cli"),
        ("from evovae import io", "evovae.io needs PIL", "io"),
        (
            "import evovae, numpy; evovae.Restoration(numpy.eye(3), numpy.eye(3), 1.0).plot()",
            "a figure needs matplotlib",
            "demo",
        ),
    ],
)
def test_what_is_missing_is_said_at_the_door(door, what, extra):
    done = run(door)
    said = f"ModuleNotFoundError: {what}, which is missing; pip install 'evovae[{extra}]' brings it"
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == said, done.stderr


def test_the_command_line_says_in_one_line_what_it_needs():
    done = run("import runpy; runpy.run_module('evovae', run_name='__main__')")
    said = "evovae: the command line needs typer, which is missing; pip install 'evovae[cli]' brings it\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_a_result_is_shown_in_words_where_there_is_no_figure():
    done = run("""
        import evovae, numpy
        print(evovae.Restoration(numpy.eye(3), numpy.eye(3), 1.0)._repr_html_())
    """)
    assert done.stdout.startswith("<p>Restoration(float64 (3, 3)") and "img" not in done.stdout, done.stderr
