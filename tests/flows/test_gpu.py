import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from flows.machine import gpu
from flows.machine.gpu import gpus, try_take
from flows.machine.lock import hold
from pipeline_lib.core.errors import UserError
from tests.flows.conftest import ROOT, pretend_gpus

THREE = """GPU 0: NVIDIA A100 80GB PCIe (UUID: GPU-aa01)
GPU 1: NVIDIA A100 80GB PCIe (UUID: GPU-ab02)
GPU 2: NVIDIA A100 80GB PCIe (UUID: GPU-b003)"""
# As drivers of today and of some years ago print it.
MIG = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aa01)
  MIG 3g.20gb     Device  0: (UUID: MIG-c1)
  MIG 3g.20gb     Device  1: (UUID: MIG-c2)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-ab02)
  MIG 7g.40gb Device 0: (UUID: MIG-GPU-ab02/0/0)
GPU 2: NVIDIA A100-SXM4-40GB (UUID: GPU-b003)"""
HOLDER = """
import time
from flows.machine.gpu import try_take
held = try_take(2)
print("held", flush=True)
time.sleep(300)
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Sets what the machine has, and what the user lets be seen of it; the locks are the test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    def has(listing, visible=None):
        pretend_gpus(monkeypatch, tmp_path, listing)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return has


def named(taken):
    return taken.environment["CUDA_VISIBLE_DEVICES"].split(",")


def test_each_gpu_is_held_once_and_free_again_after(machine):
    machine(THREE)
    with try_take(1) as one, try_take(2) as two:
        assert sorted([*named(one), *named(two)]) == ["GPU-aa01", "GPU-ab02", "GPU-b003"]
        assert try_take(1) is None
    with try_take(3) as every:
        assert named(every) == ["GPU-aa01", "GPU-ab02", "GPU-b003"]


def test_those_that_are_not_enough_are_left_to_others(machine):
    machine(THREE)
    with try_take(2):
        assert try_take(2) is None
        with try_take(1) as third:
            assert named(third) == ["GPU-b003"]


def test_freeing_twice_frees_nothing_of_others(machine):
    machine(THREE, "0")
    first = try_take(1)
    first.free()
    with try_take(1):
        first.free()
        assert try_take(1) is None


def test_an_error_of_the_stage_passes_and_frees_the_gpu(machine):
    machine(THREE, "0")
    for _ in range(2):
        with pytest.raises(UserError, match="mend it"), try_take(1):
            raise UserError("mend it")


def test_the_gpus_of_a_killed_process_are_free(machine):
    machine(THREE)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    assert try_take(2) is None
    holder.kill()
    holder.wait()
    with try_take(3):
        pass


def test_two_that_want_both_gpus_do_not_take_one_each(machine, monkeypatch):
    @contextmanager
    def hold_slowly(*given):
        with hold(*given) as file:
            time.sleep(0.2)  # the others try now
            yield file

    machine(THREE, "0,1")
    monkeypatch.setattr(gpu, "hold", hold_slowly)
    with ThreadPoolExecutor(2) as threads:
        taken = [one for one in threads.map(lambda _: try_take(2), range(2)) if one]
    assert len(taken) == 1
    taken[0].free()


@pytest.mark.parametrize(
    ("listing", "visible", "wanted"),
    [
        (THREE, None, ["GPU-aa01", "GPU-ab02", "GPU-b003"]),
        (THREE, "2,0", ["2", "0"]),
        (THREE, "GPU-b003, GPU-aa", ["GPU-b003", "GPU-aa"]),
        (THREE, "", []),
        (THREE, "-1", []),
        (THREE, "NoDevFiles", []),
        # What comes after a name of no GPU, of two, or of one that is named already does not count.
        (THREE, "1,3,0", ["1"]),
        (THREE, "GPU-a,1", []),
        (THREE, "1,GPU-ab02,0", ["1"]),
        (MIG, None, ["MIG-c1", "MIG-c2", "MIG-GPU-ab02/0/0", "GPU-b003"]),
        (MIG, "MIG-c2,MIG-GPU-ab02/0/0", ["MIG-c2", "MIG-GPU-ab02/0/0"]),
        (MIG, "GPU-aa01,2", ["GPU-aa01", "2"]),
        ("No devices were found", None, []),
        ("No devices were found", "0", []),
    ],
)
def test_the_gpus_that_stages_may_use(machine, listing, visible, wanted):
    machine(listing, visible)
    assert list(gpus()) == wanted
    if wanted:
        with try_take(len(wanted)) as every:
            assert named(every) == wanted


@pytest.mark.parametrize(("name", "other"), [("1", "GPU-ab02"), ("GPU-ab02", "GPU-ab"), ("0", "MIG-c1")])
def test_a_gpu_by_another_name_is_the_same(machine, monkeypatch, name, other):
    machine(MIG if "MIG" in other else THREE, name)
    with try_take(1):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", other)
        assert try_take(1) is None


@pytest.mark.parametrize(("listing", "visible"), [("No devices were found", None), (THREE, "")])
def test_where_there_is_no_gpu_nobody_waits_and_nothing_is_set(machine, listing, visible):
    machine(listing, visible)
    with try_take(1) as first, try_take(2) as second:
        assert first.environment == second.environment == {}


def test_where_there_is_no_driver_there_is_no_gpu_and_torch_is_not_asked(tmp_path):
    code = "import sys; from flows.machine.gpu import gpus; print(gpus(), 'torch' in sys.modules)"
    environment = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(ROOT)}
    said = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert said.stdout == "() False\n", said.stderr


def test_more_gpus_than_there_are_is_a_mistake(machine):
    machine(THREE)
    with pytest.raises(UserError, match=r"^meta\.gpu in dvc\.yaml asks for 4 GPUs, but this machine has 3: lower it$"):
        try_take(4)
    machine(THREE, "0,2")
    with pytest.raises(UserError, match=r"for 3 GPUs, but CUDA_VISIBLE_DEVICES=0,2 names 2: lower it$"):
        try_take(3)
