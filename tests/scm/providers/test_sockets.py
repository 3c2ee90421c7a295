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


ADDRESSES = [
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
    ("0.255.255.255", False),
    ("1.0.0.0", True),
    ("100.63.255.255", True),
    ("100.100.100.200", False),
    ("100.127.255.255", False),
    ("100.128.0.0", True),
    ("168.63.129.15", True),
    ("168.63.129.16", False),
    ("172.31.255.255", False),
    ("172.32.0.0", True),
    ("192.0.0.8", False),
    ("192.0.0.9", False),
    ("192.0.0.192", False),
    ("192.0.1.0", True),
    ("192.0.2.1", False),
    ("192.88.99.1", False),
    ("198.17.255.255", True),
    ("198.18.0.1", False),
    ("198.19.255.255", False),
    ("198.20.0.0", True),
    ("198.51.100.1", False),
    ("203.0.113.1", False),
    ("223.255.255.255", True),
    ("239.255.255.255", False),
    ("240.0.0.1", False),
    ("::ffff:0:127.0.0.1", False),
    ("::ffff:192.0.0.8", False),
    ("::ffff:255.255.255.255", False),
    ("64:ff9b::", False),
    ("64:ff9b::c000:8", False),
    ("64:ff9b::6440:1", False),
    ("64:ff9b:1::5db8:d70e", False),
    ("100::1", False),
    ("100:0:0:1::1", False),
    ("1fff::1", False),
    ("2001::1", False),
    ("2001:0:5db8:d70e:0:ffff:a247:28f1", False),
    ("2001:2::1", False),
    ("2001:10::1", False),
    ("2001:20::1", False),
    ("2001:1ff::1", False),
    ("2001:200::1", True),
    ("2001:db8::1", False),
    ("2002:a00:1::1", False),
    ("2002:a9fe:a9fe::", False),
    ("2002:c000:8::", False),
    ("2606::5efe:a00:1", False),
    ("2606::200:5efe:7f00:1", False),
    ("2606::5efe:5db8:d70e", True),
    ("3ffe::1", False),
    ("3fff::1", False),
    ("3fff:1000::1", True),
    ("4000::1", False),
    ("5f00::1", False),
    ("febf::1", False),
    ("feff::1", False),
]


def test_which_addresses_are_of_the_internet() -> None:
    assert {
        address: public for address, public in ADDRESSES if is_public(ipaddress.ip_address(address)) is not public
    } == {}
