"""A container's specification as the Docker SDK takes it; everything that it does not allow is denied."""

from __future__ import annotations

from typing import Any

from docker.types import Mount as EngineMount

from mobvibe_app.containers.spec import SPEC_LABEL, ContainerSpec


def sealed_options(spec: ContainerSpec) -> dict[str, Any]:
    """The arguments of `containers.create`, except the image and the logging."""
    return {
        "command": list(spec.command) or None,
        "name": spec.name,
        "environment": dict(spec.environment),
        "labels": {**spec.labels, SPEC_LABEL: spec.fingerprint},
        "user": spec.user,
        "mounts": [
            EngineMount(one.target, one.source, one.kind, read_only=one.is_read_only)
            for one in spec.mounts
        ],
        "tmpfs": dict(spec.temporary),
        "ports": {f"{one.inside}/tcp": (one.address, one.outside) for one in spec.ports},
        "network": spec.network,
        "cap_drop": ["ALL"],
        "cap_add": list(spec.capabilities),
        "security_opt": ["no-new-privileges"],
        "read_only": spec.is_read_only,
        "mem_limit": spec.memory_bytes,
        "memswap_limit": spec.memory_bytes,
        "nano_cpus": None if spec.cpus is None else int(spec.cpus * 1e9),
        "pids_limit": spec.processes,
        "init": spec.has_init,
    }
