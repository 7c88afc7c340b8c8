"""Whether there is a C++ compiler: without one steps run uncompiled, and tests of compiled ones are skipped."""

import os
import shutil
import sys

import pytest

CXX = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
compiling = pytest.mark.skipif(not shutil.which(CXX), reason=f"there is no C++ compiler {CXX}")
