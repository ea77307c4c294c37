"""Passwords come from files of one folder, and from nowhere else."""

from __future__ import annotations

import pytest

from cloudnet.bgp.passwords import passwords_in


@pytest.fixture
def read(tmp_path):
    (tmp_path / "secrets" / "bgp").mkdir(parents=True)
    (tmp_path / "secrets" / "bgp" / "password").write_text("geheim\n")
    (tmp_path / "secrets" / "bgp" / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "secrets" / "bgp" / ".dotted_").write_text("auch")
    (tmp_path / "outside").write_text("not for you")
    return passwords_in(str(tmp_path / "secrets"))


def test_a_password_is_what_the_file_says_without_the_end_of_its_line(read):
    assert read(("bgp", "password")) == "geheim"
    assert read(("bgp", ".dotted_")) == "auch"


@pytest.mark.parametrize(
    "key",
    [
        ("bgp", "other"), ("other", "password"), ("bgp", "binary"), ("..", "outside"), (".", "bgp"), ("bgp", ""),
        ("../secrets/bgp", "password"), ("bgp", "../../outside"), ("", "/etc/hostname"),
    ],
)  # fmt: skip
def test_what_is_not_there_cannot_be_read_or_leads_out_of_the_folder_is_no_password(read, key):
    assert read(key) == ""
