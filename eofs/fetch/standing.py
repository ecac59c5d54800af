"""Where a product stands: on the disk, at its provider, and in what eofs does for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from eofs.errors import Cancelled, NotReady
from eofs.fetch.stage import Stage, begin_stage
from eofs.status import Activity, Local, StorageStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eofs.cache import Cache
    from eofs.errors import EofsError
    from eofs.fetch.stories import Stories
    from eofs.model import Product

# Of several files, that one tells most of which most happens.
_TELLING = [Activity.DOWNLOADING, Activity.WAITING, Activity.ORDERING, Activity.FAILED, Activity.IDLE]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a product stands: bytes that have come, bytes in all, the last failure, when a wait is given up."""

    local: Local
    arrived: int
    size: int | None
    stage: Stage
    failure: EofsError | None = None
    deadline: float | None = None


def of_one(product: Product, cache: Cache, stories: Stories, begun: Stage | None = None) -> Standing:
    """Return where a product stands that is one file; `begun` as `begin_stage` returns it."""
    local, arrived, size = cache.local(cache.archive(product))
    story, failure = stories.of(product)
    stage = story.stage if story else begun or begin_stage(product, cache)
    if story:  # it fails before its failure is remembered; and it is asked after its stage, which tells of its end
        failure = story.failure or failure
    if local is Local.COMPLETE:
        failure = None
    if failure:
        stage = _failed(stage, failure)
    elif local is Local.COMPLETE or (story and story.is_idle):
        stage = replace(stage, activity=Activity.IDLE)
    size = product.size if size is None else size
    return Standing(local, arrived, size, stage, failure, story.deadline if story else None)


def of_all(
    product: Product, parts: Iterable[Product], failure: EofsError | None, cache: Cache, stories: Stories
) -> Standing:
    """Return where a product stands that is made of `parts`; `failure` is that of listing them."""
    begun = begin_stage(product, cache)
    nothing = Standing(Local.COMPLETE, 0, 0, begun)  # what an empty file needs
    each = [of_one(part, cache, stories, begun) if part.size != 0 else nothing for part in parts]
    arrived, sizes = sum(one.arrived for one in each), [one.size for one in each if one.size is not None]
    complete = bool(each) and all(one.local is Local.COMPLETE for one in each)
    if complete:
        failure = None
    failures = [*(one.failure for one in each if one.failure), *([failure] if failure else [])]
    most = min(each, key=lambda one: _TELLING.index(one.stage.activity), default=nothing)
    stage = most.stage
    if stage.activity is Activity.IDLE:
        stage = replace(begun, storage=StorageStatus.ONLINE) if arrived else begun
        stage = _failed(stage, failure) if failure else stage
    return Standing(
        local=Local.COMPLETE if complete else Local.PARTIAL if arrived else Local.ABSENT,
        arrived=arrived,
        size=sum(sizes) if each and len(sizes) == len(each) else product.size,
        stage=stage,
        failure=failures[0] if failures else None,
        deadline=most.deadline,
    )


def _failed(stage: Stage, failure: EofsError) -> Stage:
    """Return the stage of what has failed: one that was only not ready has not."""
    activity = Activity.IDLE if isinstance(failure, NotReady | Cancelled) else Activity.FAILED
    return Stage(stage.storage, activity, order=stage.order)
