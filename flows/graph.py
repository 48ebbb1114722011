"""The order of tasks: each is submitted as soon as what it needs is complete, or skipped if something did not complete.

Prefect could wait by itself, but it leaves a task behind one that was skipped without an end, and one that waits holds
a slot of the task runner.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any

from prefect import allow_failure, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Cancelled

SKIPPED = "Skipped"


def run_in_order(upstream: Mapping[str, Sequence[str]], submit: Callable[[str, list[Any]], Any]) -> dict[str, State]:
    """Run the tasks that ``upstream`` names, and return the state in which each ended, in the same order.

    ``submit`` takes a name and the futures of its upstream tasks, all complete, and returns the future of the task.
    """
    futures: dict[str, Any] = {}
    states: dict[str, State] = {}
    waiting = dict(upstream)
    ended: SimpleQueue[str] = SimpleQueue()
    while len(states) < len(upstream):
        ready = [name for name, above in waiting.items() if all(one in states for one in above)]
        for name in ready:
            above = waiting.pop(name)
            missing = [one for one in above if not states[one].is_completed()]
            futures[name] = (
                _submit_skip(name, missing, [futures[one] for one in above if not states[one].is_cancelled()])
                if missing
                else submit(name, [futures[one] for one in above])
            )
            futures[name].add_done_callback(partial(_put, ended, name))
        name = ended.get()
        futures[name].wait()
        states[name] = futures[name].state
    return {name: states[name] for name in upstream}


def _put(ended: "SimpleQueue[str]", name: str, future: Any) -> None:
    ended.put(name)


def _submit_skip(name: str, missing: Sequence[str], above: Sequence[Any]) -> Any:
    skipping = _skip.with_options(name=name, task_run_name=name)
    message = f"it needs {' and '.join(missing)}, which did not complete"
    return skipping.submit(message, wait_for=list(map(allow_failure, above)), return_state=False)


@task(cache_policy=NO_CACHE)
def _skip(message: str) -> State:
    return Cancelled(name=SKIPPED, message=message)
