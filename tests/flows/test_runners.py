import socket
import sys
import time
from types import SimpleNamespace

import pytest

from flows.sweep.runners import task_runner
from pipeline_lib.core.errors import UserError


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:9", "ray://127.0.0.1:9", "tcp://no.such.host.invalid:1", "ray://"]
)
def test_a_cluster_that_does_not_answer_is_told_within_seconds(address):
    began = time.monotonic()
    with pytest.raises(UserError, match="where no cluster answers"):
        task_runner(address, 2)
    assert time.monotonic() - began < 30


def test_what_is_no_runner_is_refused():
    with pytest.raises(UserError, match=r"must be one of threads, dask, ray.*did you mean 'dask'"):
        task_runner("dsak", 2)
    with pytest.raises(UserError, match="--runner is 'ftp://host:1', but must be one of"):
        task_runner("ftp://host:1", 2)


@pytest.mark.parametrize(("scheme", "module", "name"), [
    ("tcp", "prefect_dask", "DaskTaskRunner"), ("ray", "prefect_ray", "RayTaskRunner")
])  # fmt: skip
def test_an_address_is_connected_to_and_no_cluster_is_started(scheme, module, name, monkeypatch):
    made = []
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{name: lambda **options: made.append(options)}))
    with socket.create_server(("127.0.0.1", 0)) as cluster:
        address = f"{scheme}://127.0.0.1:{cluster.getsockname()[1]}"
        task_runner(address, 2)
    assert made == [{"address": address}]
