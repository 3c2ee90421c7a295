"""Addresses that may be called, and paths that cannot climb."""

from __future__ import annotations

import ipaddress

import pytest

from flask_grpcweb_scm.scm.providers.api import path_of
from flask_grpcweb_scm.scm.providers.sockets import is_public


def test_segments_of_a_path_stay_segments() -> None:
    assert path_of("repos", "a/b", "x?y#z", "ü", 7) == "/repos/a%2Fb/x%3Fy%23z/%C3%BC/7"
    for segment in ("", ".", ".."):
        with pytest.raises(ValueError, match="no path"):
            path_of("repos", segment)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("::ffff:93.184.215.14", True),
        ("64:ff9b::5db8:d70e", True),
        ("127.0.0.1", False),
        ("127.9.9.9", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:169.254.169.254", False),
        ("::127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:7f00:1::", False),
        ("2001:0:5db8:d70e:0:ffff:80ff:fffe", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("fd00:ec2::254", False),
        ("fec0::1", False),
        ("ff02::1", False),
    ],
)
def test_which_addresses_are_of_the_internet(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public
