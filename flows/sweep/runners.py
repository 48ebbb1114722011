"""What runs the stages of a sweep at the same time: threads, or a cluster of Dask or Ray, here or at an address."""

import logging
import socket
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from pipeline_lib.core.errors import UserError, nearest

SECONDS_TO_ANSWER = 5


def _dask(slots: int, address: str | None) -> TaskRunner[Any]:
    from prefect_dask import DaskTaskRunner

    logging.getLogger("distributed").setLevel(logging.WARNING)
    if address:
        return DaskTaskRunner(address=address)
    return DaskTaskRunner(cluster_kwargs={"n_workers": slots, "threads_per_worker": 1, "dashboard_address": None})


def _ray(slots: int, address: str | None) -> TaskRunner[Any]:
    from prefect_ray import RayTaskRunner

    if address:
        return RayTaskRunner(address=address)
    return RayTaskRunner(init_kwargs={"num_cpus": slots, "include_dashboard": False})


RUNNERS: Mapping[str, Callable[[int, str | None], TaskRunner[Any]]] = {
    "threads": lambda slots, address: ThreadPoolTaskRunner(max_workers=slots),
    "dask": _dask,
    "ray": _ray,
}
# The kind of cluster that an address is of, by its scheme.
SCHEMES = {"tcp": "dask", "tls": "dask", "ray": "ray"}


def is_address(runner: str) -> bool:
    """Say whether a runner is an existing cluster, whose workers are in clones of their own."""
    return "://" in runner


def task_runner(runner: str, slots: int) -> TaskRunner[Any]:
    """Return the runner of this name or address; UserError where there is none, or none answers within seconds."""
    kind = SCHEMES.get(urlsplit(runner).scheme, "") if is_address(runner) else runner
    if kind not in RUNNERS:
        known = (*RUNNERS, "ray://host:port", "tcp://host:port")
        raise UserError(f"--runner is '{runner}', but must be one of {', '.join(known)}{nearest(runner, RUNNERS)}")
    if is_address(runner):
        _refuse_silent(runner)
    try:
        return RUNNERS[kind](slots, runner if is_address(runner) else None)
    except ImportError:
        raise UserError(
            f"--runner {runner} needs prefect-{kind}: pip install prefect-{kind}, or take threads"
        ) from None


def _refuse_silent(address: str) -> None:
    """Raise UserError where nothing listens at an address: the cluster's own client would try for minutes."""
    try:
        place = urlsplit(address)
        if place.hostname is None or place.port is None:
            raise ValueError("it has no host and port")
        socket.create_connection((place.hostname, place.port), timeout=SECONDS_TO_ANSWER).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"--runner is '{address}', where no cluster answers ({error}): start one there, or correct the address"
        ) from None
