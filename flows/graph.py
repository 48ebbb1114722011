"""The order of tasks: each is submitted as soon as what it needs is complete, or skipped if something did not complete.

Prefect could wait by itself, but it leaves a task behind one that was skipped without an end, and one that waits holds
a slot of the task runner. So nothing is submitted that would wait, be it for another task or for a GPU.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from prefect import allow_failure, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Cancelled

from flows.machine.gpu import Taken, try_take

SKIPPED = "Skipped"
SECONDS_BETWEEN_TRIES = 0.2


def run_in_order(
    upstream: Mapping[str, Sequence[str]],
    submit: Callable[[str, list[Any]], Any],
    may_start: Callable[[str], bool] = lambda name: True,
) -> dict[str, State]:
    """Run the tasks that ``upstream`` names, and return the state in which each ended, in the same order.

    ``submit`` takes a name and the futures of its upstream tasks, all complete, and returns the future of the task.
    ``may_start`` is asked before, again and again until it says so.
    """
    futures: dict[str, Any] = {}
    states: dict[str, State] = {}
    waiting = dict(upstream)
    ended: SimpleQueue[str] = SimpleQueue()
    while len(states) < len(upstream):
        ready = [name for name, above in waiting.items() if all(one in states for one in above)]
        for name in ready:
            missing = [one for one in waiting[name] if not states[one].is_completed()]
            if not missing and not may_start(name):
                continue
            above = waiting.pop(name)
            futures[name] = (
                _submit_skip(name, missing, [futures[one] for one in above if not states[one].is_cancelled()])
                if missing
                else submit(name, [futures[one] for one in above])
            )
            futures[name].add_done_callback(partial(_put, ended, name))
        try:
            name = ended.get(timeout=SECONDS_BETWEEN_TRIES if waiting.keys() & ready else None)
        except Empty:
            continue
        futures[name].wait()
        states[name] = futures[name].state
    return {name: states[name] for name in upstream}


def run_on_gpus(
    upstream: Mapping[str, Sequence[str]],
    submit: Callable[[str, list[Any], Mapping[str, str]], Any],
    gpus: Mapping[str, int],
    log: Callable[[str], None],
    take: Callable[[int], Taken | None] = try_take,
) -> dict[str, State]:
    """Run tasks as :func:`run_in_order` does, each with as many GPUs for itself as ``gpus`` says.

    ``submit`` also takes what the environment of a task has to say of its GPUs. Raises UserError for more than there
    are, before anything runs.
    """
    for count in filter(None, {*gpus.values()}):
        if held := take(count):
            held.free()
    taken: dict[str, Taken] = {}
    told = set()

    def may_start(name: str) -> bool:
        if not (count := gpus.get(name, 0)):
            return True
        if held := take(count):
            taken[name] = held
        elif name not in told:
            told.add(name)
            holders = " and ".join(taken) or "another run on this machine"
            log(f"{name} waits for {'a GPU' if count == 1 else f'{count} GPUs'}: {holders} has what there is")
        return name in taken

    def start(name: str, above: list[Any]) -> Any:
        future = submit(name, above, taken[name].environment if name in taken else {})
        if name in taken:
            future.add_done_callback(lambda _: taken.pop(name).free())
        return future

    return run_in_order(upstream, start, may_start)


def _put(ended: "SimpleQueue[str]", name: str, future: Any) -> None:
    ended.put(name)


def _submit_skip(name: str, missing: Sequence[str], above: Sequence[Any]) -> Any:
    skipping = _skip.with_options(name=name, task_run_name=name)
    message = f"it needs {' and '.join(missing)}, which did not complete"
    return skipping.submit(message, wait_for=list(map(allow_failure, above)), return_state=False)


@task(cache_policy=NO_CACHE)
def _skip(message: str) -> State:
    return Cancelled(name=SKIPPED, message=message)
