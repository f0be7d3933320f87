"""Caches on disk: where they are, whole transactions, and what is said of damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamis.database import VARIABLE, Database, cache_folder
from tamis.errors import StorageError

TABLE = "CREATE TABLE IF NOT EXISTS things (name TEXT PRIMARY KEY)"


def things(path: Path) -> Database:
    return Database(path, (TABLE,), what="the cache of things", way_out="have none")


def test_the_environment_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "off")
    assert cache_folder() is None
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "tamis"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "tamis"


def test_a_transaction_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    database = things(tmp_path / "deep" / "one.sqlite3")
    with database.writing() as connection:
        connection.execute("INSERT INTO things VALUES ('a')")

    def interrupted() -> None:
        with database.writing() as connection:
            connection.execute("INSERT INTO things VALUES ('b')")
            raise KeyboardInterrupt

    def twice() -> None:
        with database.writing() as connection:
            connection.execute("INSERT INTO things VALUES ('c')")
            connection.execute("INSERT INTO things VALUES ('a')")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(StorageError, match="UNIQUE"):
        twice()
    database.close()
    with things(database.path).using() as connection:
        assert connection.execute("SELECT name FROM things").fetchall() == [("a",)]


def test_damage_names_the_file_and_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "broken.sqlite3"
    path.write_bytes(b"this is no database" * 100)
    with (
        pytest.raises(StorageError, match=r"the cache of things .*broken.* cannot be used.*have none"),
        things(path).using(),
    ):
        pass
