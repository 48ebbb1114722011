import threading

import pytest
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.graph import run_in_order, run_on_gpus
from pipeline_lib.core.errors import UserError


class Taken:
    """Stands in for GPUs of this machine that are held."""

    def __init__(self, machine, count):
        self.machine, self.count = machine, count
        self.environment = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, range(count)))}

    def free(self):
        self.machine.free += self.count


class Machine:
    def __init__(self, free):
        self.free, self.all = free, free

    def take(self, count):
        if count > self.all:
            raise UserError("there are not so many")
        if count > self.free:
            return None
        self.free -= count
        return Taken(self, count)


@task(cache_policy=NO_CACHE)
def work(action, environment):
    return action(environment) or Completed()


def run(upstream, actions, gpus, machine, slots=4, told=None):
    """Run ``actions`` by their names; return their states, and what was logged, of which the event ``told`` tells."""
    lines, told = [], told or threading.Event()

    def say(line):
        lines.append(line)
        told.set()

    def submit(name, above, environment):
        running = work.with_options(name=name, task_run_name=name)
        return running.submit(actions[name], environment, wait_for=above, return_state=False)

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=slots))
    def graph():
        return run_on_gpus(upstream, submit, gpus, say, machine.take)

    states = graph()
    return {name: state.name for name, state in states.items()}, lines


def test_what_needs_no_gpu_never_waits_behind_what_does(api):
    machine, done = Machine(1), threading.Event()
    held = machine.take(1)  # by another run

    def cpu(_):
        done.set()
        held.free()

    def gpu(environment):
        assert done.is_set()
        assert environment == {"CUDA_VISIBLE_DEVICES": "0"}

    # With one slot, a task that waited in it would keep the other one out for ever.
    states, lines = run({"gpu": (), "cpu": ()}, {"gpu": gpu, "cpu": cpu}, {"gpu": 1}, machine, slots=1)
    assert states == {"gpu": "Completed", "cpu": "Completed"}
    assert lines == ["gpu waits for a GPU: another run on this machine has what there is"]
    assert machine.free == 1


def test_a_task_waits_for_the_one_that_has_the_gpus(api):
    machine, at_work, told = Machine(3), [], threading.Event()

    def two(environment):
        at_work.append(environment["CUDA_VISIBLE_DEVICES"])
        assert machine.free == 1, "the others are for others"
        assert told.wait(60), "the first is at work until the second has asked"

    gpus = {"first": 2, "second": 2}
    states, lines = run({"first": (), "second": ()}, {"first": two, "second": two}, gpus, machine, told=told)
    assert states == {"first": "Completed", "second": "Completed"}
    assert at_work == ["0,1", "0,1"]
    assert lines == ["second waits for 2 GPUs: first has what there is"]
    assert machine.free == 3


def test_a_task_that_fails_frees_its_gpu_and_what_needs_it_takes_none(api):
    machine = Machine(1)
    upstream = {"first": (), "second": ("first",)}
    actions = {"first": lambda _: Failed(message="no"), "second": lambda _: pytest.fail("it was started")}
    states, lines = run(upstream, actions, {"first": 1, "second": 1}, machine)
    assert states == {"first": "Failed", "second": "Skipped"}
    assert (machine.free, lines) == (1, [])


def test_more_gpus_than_there_are_is_refused_before_anything_runs(api):
    upstream = {"first": (), "second": ()}
    actions = dict.fromkeys(upstream, lambda _: pytest.fail("it was started"))
    with pytest.raises(UserError, match="not so many"):
        run(upstream, actions, {"second": 2}, Machine(1))


def test_a_run_that_is_stopped_waits_no_longer(api):
    asked = []

    def interrupted(name):
        asked.append(name)
        if len(asked) == 3:  # as Ctrl-C is, wherever it meets the flow
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        run_in_order({"first": ()}, lambda *_: pytest.fail("it was started"), interrupted)
    assert len(asked) == 3
