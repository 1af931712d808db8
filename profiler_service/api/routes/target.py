"""What this service measures on, and what it can build."""

from __future__ import annotations

from fastapi import APIRouter

from models.spaces.registry import space_class, space_names
from models.spec.wire import SpacePublic, TargetPublic
from profiler_service.api.dependencies import ServicesDep
from profiler_service.version import service_version

router = APIRouter(tags=["target"])


@router.get("/target")
def target(services: ServicesDep) -> TargetPublic:
    """The device, runtime and settings that every number of this service belongs to."""
    spec = services.backend.target
    return TargetPublic(id=spec.id(), target=spec, service_version=service_version())


@router.get("/spaces")
def spaces() -> list[SpacePublic]:
    """The search spaces whose names a job may give, each with its defaults."""
    classes = [space_class(name) for name in space_names()]
    return [SpacePublic(name=cls.name, defaults=cls.defaults().spec, description=cls.description) for cls in classes]
