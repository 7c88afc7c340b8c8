"""Shapes are checked while tests run: every jaxtyping annotation of anila is enforced by beartype."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

from jaxtyping import install_import_hook

hook = install_import_hook("anila", "beartype.beartype")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real image files beside the checkout; a test that needs them skips without."""
    if not SHARED.is_dir():
        pytest.skip(f"no data files at {SHARED}")
    return SHARED
