"""The content of files as hashes, in one table for all stages, so that a file which no one touched is read once."""

import hashlib
import os
import re
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from pathspec import GitIgnoreSpec

TABLE = Path(".graftline/hashes.sqlite")
SCHEMA = "CREATE TABLE IF NOT EXISTS hashes (path BLOB PRIMARY KEY, stamp TEXT, digest TEXT) WITHOUT ROWID"
# A file that changed less than so long before it is read may change again without another stamp: file systems count
# time in steps, of 2 s at most. Its stamp says nothing, and it is read again by the next who asks.
SETTLED = 2 * 10**9  # ns
LARGE = 2**20  # bytes; of smaller files, threads would rather wait for each other than read
IGNORE_FILE = ".dvcignore"
IGNORED_BY_DVC = (".git", ".hg/", ".dvc/")

# The stamp (size, times and inode; None where it says nothing) and the hash of the content.
Entry = tuple[str | None, str]
Matches = Callable[[str], bool]


def hash_files(paths: Iterable[str], known: Mapping[str, Entry] | None = None) -> dict[str, Entry]:
    """Map every file at or under ``paths`` that DVC does not ignore to its stamp and hash.

    A file whose stamp is the one in ``known``, which is the table if it is not given, is not read again.
    """
    paths = [os.path.normpath(path) for path in paths]
    before = _read_table(paths) if known is None else known
    found: dict[str, Entry] = {}
    unread: dict[str, os.stat_result] = {}
    for file, status in _files(paths):
        stamp = _stamp(status)
        entry = before.get(file)
        if entry is not None and entry[0] == stamp:
            found[file] = entry
        else:
            unread[file] = status
    now = time.time_ns()
    digests = _hash_all(unread)
    for file, status in unread.items():
        found[file] = (_stamp(status) if status.st_ctime_ns < now - SETTLED else None, digests[file])
    if known is None:
        new = [(file, *found[file]) for file in unread if found[file][0] is not None]
        _write_table(new, before.keys() - found.keys())
    return found


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def _files(paths: Iterable[str]) -> Iterator[tuple[str, os.stat_result]]:
    for path in paths:
        if not os.path.isdir(path):  # noqa: PTH112 - a Path a file would take longer than all else
            yield path, _status(path)
            continue
        is_ignored_file, is_ignored_folder = _ignored(path)
        folders = [path]
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if not is_ignored_folder(f"{entry.path}/"):
                            folders.append(entry.path)
                    elif entry.is_symlink() and os.path.isdir(entry.path):  # noqa: PTH112
                        continue  # as DVC, which follows no such link
                    elif not is_ignored_file(entry.path):
                        yield entry.path, _status(entry.path)


def _status(file: str) -> os.stat_result:
    try:
        return os.stat(file)  # noqa: PTH116
    except OSError:  # a link to nothing
        return os.lstat(file)


def _ignored(folder: str) -> tuple[Matches, Matches]:
    """Return what says of files, and of folders, under ``folder`` whether DVC ignores them.

    So say the .dvcignore of the folders above; with one in it, DVC refuses a dependency.
    """
    lines: dict[str, list[str]] = {}
    if not os.path.isabs(folder) and not folder.startswith(".."):  # noqa: PTH117 - else it is not in the project
        lines[""] = list(IGNORED_BY_DVC)
        for above in reversed(Path(folder).parents):
            if (above / IGNORE_FILE).is_file():
                prefix = "" if above == Path() else f"{above.as_posix()}/"
                text = (above / IGNORE_FILE).read_text(encoding="utf-8")
                lines.setdefault(prefix, []).extend(map(str.strip, text.splitlines()))
    return _matches(lines, of_folders=False), _matches(lines, of_folders=True)


def _matches(lines: Mapping[str, Iterable[str]], of_folders: bool) -> Matches:
    """Return what says whether a path is ignored by lines of a .dvcignore in each of the folders above.

    All lines that follow each other and say the same are one expression, as in DVC: to try one at a time would take
    longer than to look at the files. Lines that end with a slash are about folders alone.
    """
    rules = []
    for prefix, written in lines.items():
        kept = [line for line in written if line and line[0] != "#" and (of_folders or line[-1] != "/")]
        patterns = [(one.include, one.regex.pattern) for one in GitIgnoreSpec.from_lines(kept).patterns if one.regex]
        for include, group in groupby(patterns, itemgetter(0)):
            expressions = [re.sub(r"\(\?P<\w+>", "(?:", expression) for _, expression in group]  # names meet but once
            rules.append((re.compile("|".join(expressions)), len(prefix), include))
    rules.reverse()  # the last that matches counts
    return lambda path: next((include for rule, start, include in rules if rule.match(path[start:])), False)


def _hash_all(files: Mapping[str, os.stat_result]) -> dict[str, str]:
    large = [file for file, status in files.items() if status.st_size >= LARGE]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        of_large = pool.map(_hash_file, large, [files[file].st_mode for file in large])
        digests = {file: _hash_file(file, status.st_mode) for file, status in files.items() if status.st_size < LARGE}
        return digests | dict(zip(large, of_large, strict=True))


def _hash_file(file: str, mode: int) -> str:
    if stat.S_ISLNK(mode):
        return hashlib.sha256(os.fsencode(os.readlink(file))).hexdigest()  # noqa: PTH115
    if not stat.S_ISREG(mode):  # a pipe or a socket would be waited for without an end
        return hashlib.sha256(b"no file").hexdigest()
    with open(file, "rb", buffering=0) as opened:  # noqa: PTH123
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _read_table(paths: Iterable[str]) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    try:
        with closing(_open_table()) as table:
            for path in map(os.fsencode, paths):
                places = (path, path + b"/", path + b"0")  # 0 is what follows /
                rows = table.execute("SELECT * FROM hashes WHERE path = ? OR path > ? AND path < ?", places)
                found.update((os.fsdecode(file), (stamp, digest)) for file, stamp, digest in rows)
    except sqlite3.OperationalError:  # it cannot be used here, as on a full disk: it saves time and no more
        return {}
    except (sqlite3.DatabaseError, OSError):  # it is damaged
        for file in (TABLE, TABLE.with_name(f"{TABLE.name}-journal")):
            with suppress(OSError):
                file.unlink(missing_ok=True)
        return {}
    return found


def _write_table(new: Iterable[tuple[str, str | None, str]], gone: Iterable[str]) -> None:
    """Put in what is new and take out what is gone; of stages that write at a time, each waits for the other."""
    rows, paths = [(os.fsencode(file), *entry) for file, *entry in new], [(os.fsencode(file),) for file in gone]
    if rows or paths:
        with suppress(sqlite3.Error, OSError), closing(_open_table()) as table, table:
            table.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?)", rows)
            table.executemany("DELETE FROM hashes WHERE path = ?", paths)


def _open_table() -> sqlite3.Connection:
    TABLE.parent.mkdir(exist_ok=True)
    table = sqlite3.connect(TABLE, timeout=30)  # s
    table.execute(SCHEMA)
    return table
