"""Ports and addresses of the real machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from mobvibe_app.preview.network import is_reachable, lan_address
from mobvibe_app.supervisor.ports import holder_of, is_free, pick_port
from mobvibe_worker.errors import InputError


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that this process listens on, on all addresses."""
    with socket.socket() as server:
        server.bind(("0.0.0.0", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_free_preferred_port_is_kept() -> None:
    port = pick_port(None)
    assert pick_port(port) == port and is_free(port)


def test_a_taken_port_is_replaced_by_another(taken: int) -> None:
    assert not is_free(taken) and not is_free(taken, "0.0.0.0")
    other = pick_port(taken)
    assert other != taken and is_free(other)


def test_ports_of_other_services_are_not_picked() -> None:
    port = pick_port(None)
    assert pick_port(port, {port, port + 1}) not in (port, port + 1)


def test_picking_past_the_last_port_starts_over_at_a_lower_one() -> None:
    assert 0 < pick_port(65_535, {65_535}) < 65_535


def test_the_holder_of_a_port_is_named(taken: int) -> None:
    holder = holder_of(taken)
    assert holder is not None and holder.endswith(f"(pid {os.getpid()})")
    assert holder_of(pick_port(None)) is None


def test_the_lan_address_belongs_to_this_machine() -> None:
    address = lan_address()
    assert not address.startswith("172.17.")
    with socket.socket() as server:
        server.bind((address, 0))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux namespaces can have no network")
def test_without_any_network_the_lan_address_is_loopback() -> None:
    code = "from mobvibe_app.preview.network import lan_address; print(lan_address())"
    finished = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout == "127.0.0.1\n"


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux namespaces can have their own network"
)
def test_without_a_default_route_the_lan_address_is_found_and_is_not_dockers() -> None:
    script = (
        "ip link add docker0 type veth peer name home0 && ip link set docker0 up && ip link set home0 up && "
        "ip addr add 172.17.0.1/16 dev docker0 && ip addr add 192.168.7.9/24 dev home0 && "
        'exec "$@"'
    )
    code = "from mobvibe_app.preview.network import lan_address; print(lan_address())"
    finished = subprocess.run(
        [
            *("unshare", "--user", "--map-root-user", "--net", "sh", "-c", script, "sh"),
            *(sys.executable, "-c", code),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode != 0 and "lan_address" not in finished.stderr:
        pytest.skip(f"no virtual interfaces here: {finished.stderr.strip()}")
    assert finished.stdout == "192.168.7.9\n"


@pytest.mark.parametrize(
    ("host", "reachable"),
    [
        ("127.0.0.1", False),
        ("localhost", False),
        ("172.17.0.1", False),
        ("169.254.3.4", False),
        ("0.0.0.0", False),
        ("192.168.1.20", True),
        ("172.18.0.4", True),
        ("my-machine.local", True),
    ],
)
def test_only_addresses_outside_this_machine_count_as_reachable(host: str, reachable: bool) -> None:
    assert is_reachable(host) is reachable


def test_a_valid_override_is_used_and_an_invalid_one_refused() -> None:
    assert lan_address("192.168.1.20") == "192.168.1.20"
    for nonsense in ("no such host!", "", "a" * 300):
        with pytest.raises(InputError, match="is not an address"):
            lan_address(nonsense)
