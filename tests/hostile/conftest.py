"""What rescues hostile models and watches meanwhile; see scripts/fuzz_rescue.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
if str(SCRIPTS) not in sys.path:
    sys.path.append(str(SCRIPTS))


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from fuzzing.runner import make_runner

    from exporter.source import layers_registered

    with layers_registered():  # or their import would be seen
        return make_runner(tmp_path_factory.mktemp("hostile"))
