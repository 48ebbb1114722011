import subprocess
import sys
import tempfile
import threading

import pytest

from flows.machine.gpu import gpu_slot, num_slots
from pipeline_lib.core.errors import UserError
from tests.flows.conftest import wait_for

HOLDER = """
import tempfile, time
tempfile.tempdir = {folder!r}
from flows.machine.gpu import gpu_slot
with gpu_slot(lambda: False, lambda: None):
    print("held", flush=True)
    time.sleep(300)
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def never():
    return False


def test_stages_that_need_the_gpu_wait_for_each_other():
    told = threading.Event()
    order = []

    def second():
        with gpu_slot(never, told.set):
            order.append("second")

    thread = threading.Thread(target=second)
    with gpu_slot(never, told.set) as environment:
        assert environment == {}, "a stage has all GPUs for itself"
        thread.start()
        assert told.wait(30)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]


def test_the_slot_of_a_killed_process_is_free(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(folder=str(tmp_path))], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    waited = []
    thread = threading.Thread(target=lambda: gpu_slot(never, lambda: waited.append(True)).__enter__())
    thread.start()
    wait_for(lambda: waited, 30)
    holder.kill()
    thread.join(30)
    assert not thread.is_alive()
    holder.wait()


def test_an_error_of_the_stage_passes_and_frees_the_slot():
    for _ in range(2):
        with pytest.raises(UserError, match="mend it"), gpu_slot(never, lambda: pytest.fail("the slot is free")):
            raise UserError("mend it")


def test_waiting_ends_with_the_run():
    stopped = threading.Event()
    with gpu_slot(never, never), pytest.raises(InterruptedError), gpu_slot(stopped.is_set, stopped.set):
        pass


@pytest.mark.parametrize(("visible", "wanted"), [("", ["0", "1"]), ("3,5", ["3", "5"])])
def test_each_of_several_slots_is_one_gpu(monkeypatch, visible, wanted):
    monkeypatch.setenv("GRAFTLINE_GPU_SLOTS", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with gpu_slot(never, never) as first, gpu_slot(never, never) as second:
        assert [first["CUDA_VISIBLE_DEVICES"], second["CUDA_VISIBLE_DEVICES"]] == wanted


@pytest.mark.parametrize("given", ["0", "two", "-1"])
def test_a_number_of_slots_that_is_none_is_refused(monkeypatch, given):
    monkeypatch.setenv("GRAFTLINE_GPU_SLOTS", given)
    with pytest.raises(UserError, match=f"is '{given}', but must be the number"):
        num_slots()
