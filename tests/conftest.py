"""Options and fixtures of every test."""

import os
import signal
from pathlib import Path

# Before torch is imported: tests share the cores with the processes that they start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

# A shell lets what it starts in the background ignore Ctrl-C, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runslow", action="store_true", help="also run the quality and kill matrices")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        # Where tests are shared out among processes, those of a module stay together, and so do those of one server.
        together = "server" if "served" in item.fixturenames else item.path.name
        item.add_marker(pytest.mark.xdist_group(together))
    if not config.getoption("--runslow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: runs with --runslow"))


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of larger test data that GRAFTLINE_TEST_DATA names."""
    named = os.environ.get("GRAFTLINE_TEST_DATA")
    if not named:
        pytest.skip("GRAFTLINE_TEST_DATA does not name a folder of test data")
    return Path(named)
