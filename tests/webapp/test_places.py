"""Where files lie, and the secret key that an installation makes for itself."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from webapp.env import Env
from webapp.places import LONGEST_SOCKET_PATH, broker_socket, broker_url, stored_secret_key


def test_the_secret_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    key = stored_secret_key(tmp_path / "var")
    assert len(key) >= 50
    assert stored_secret_key(tmp_path / "var") == key
    assert stat.S_IMODE((tmp_path / "var" / "secret_key").stat().st_mode) == 0o600
    assert stored_secret_key(tmp_path / "other") != key


def test_processes_that_start_together_agree_on_the_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(stored_secret_key, [tmp_path / "var"] * 32))
    assert len(keys) == 1
    assert [path.name for path in (tmp_path / "var").iterdir()] == ["secret_key"]


def test_a_folder_with_a_long_name_gets_a_short_socket(tmp_path: Path) -> None:
    assert broker_socket(Path("/srv/lk")) == Path("/srv/lk/run/broker.sock")
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    assert len(os.fsencode(broker_socket(deep))) <= LONGEST_SOCKET_PATH
    assert broker_socket(deep) == broker_socket(deep)
    assert broker_socket(deep) != broker_socket(deep / "f")


def test_the_broker_is_the_embedded_one_unless_another_is_named(tmp_path: Path) -> None:
    assert broker_url(Env({"LEUKOSCOPE_VAR": "/srv/lk"})) == "redis+socket:///srv/lk/run/broker.sock"
    assert broker_url(Env({"REDIS_URL": "redis://broker:6379/0"})) == "redis://broker:6379/0"


def test_a_wrong_setting_stops_every_command_with_its_sentence(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "manage.py", "check"],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "webapp.settings", "LEUKOSCOPE_RUNTIME": "abacus"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    assert "LEUKOSCOPE_RUNTIME must be one of auto, openvino, tensorflow, not 'abacus'." in result.stderr
