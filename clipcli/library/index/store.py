"""A library on disk: rows in a table, their features in a matrix, always in step.

Features are on the disk before the transaction that counts them is committed, so whatever interrupts a run leaves at
most rows of the matrix that nobody counts; the next batch is written over them. Compaction writes a new file and names
it in the same transaction that renumbers the rows. Two writers take turns, batch by batch.
"""

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipcli.answers.search import Mask
from clipcli.errors import ClipError, UsageError
from clipcli.files import FileStamp
from clipcli.library.index import approximate, matrix, table
from clipcli.library.index.approximate import Approximate, Facts
from clipcli.library.index.description import FILE_NAME, Description, read_description, write_description
from clipcli.library.index.table import ImageRow, Kind, NewRow, Table
from clipcli.progress import Progress
from clipcli.scoring import Floats

# Compaction pays when a fifth of a scan is spent on what is gone.
_DEAD_SHARE = 0.2
_LEAST_DEAD = 1000
_COUNTS = (
    "SELECT count(slot), count(*) - count(slot), (SELECT count(*) FROM dead), (SELECT count(*) FROM look) FROM image"
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A library as it was at one moment; valid until the end of the block that gave it, its matrix longer.

    Attributes:
        db: The table, for questions of `table`.
        matrix: (N, D) features, unit length, mapped into memory.
        live: (N,), rows that belong to an image; None if all do.
        updated: When it was last compared with the folders, in seconds since 1970.
        lost: Images whose features are missing from a damaged matrix.
        generation: Counts how often the library was compacted.
    """

    db: sqlite3.Connection
    matrix: Floats
    live: Mask | None
    updated: int | None
    lost: int
    generation: int

    def images(self, slots: Sequence[int]) -> list[ImageRow]:
        """The images of some rows of the matrix, in the order asked for."""
        return table.rows_of_slots(self.db, slots)

    @property
    def live_slots(self) -> "np.ndarray[tuple[int], np.dtype[np.intp]]":
        """The rows of the matrix that belong to an image."""
        return np.arange(len(self.matrix)) if self.live is None else np.flatnonzero(self.live)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a library holds. Sizes are bytes on disk."""

    images: int
    failed: int
    dead: int
    looks: int
    size_bytes: int
    updated: int | None


@dataclass(frozen=True, slots=True)
class NewImage:
    """An image to add: its row, and its features (D,) unless it could not be used."""

    row: NewRow
    features: Floats | None


class Store:
    """One library's folder."""

    def __init__(self, folder: Path) -> None:
        """Open a library.

        Raises:
            ClipError: There is none, or it cannot be read.
        """
        self.folder = folder
        self.description = read_description(folder)
        self._table = Table(folder)
        self._mapping: tuple[tuple[Path, int, int], Floats] | None = None
        self._approximate: tuple[tuple[int, FileStamp], Approximate] | None = None

    @classmethod
    def create(cls, folder: Path, description: Description) -> "Store":
        """Make an empty library.

        Raises:
            ClipError: There is one already, something else is there, or the folder cannot be written to.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            left = [name for name in os.listdir(folder) if name not in (table.FILE_NAME, f"{table.FILE_NAME}-journal")]
            if left:
                kind = "there is a library already" if FILE_NAME in left else "the folder is not empty"
                raise ClipError(f"{folder}: {kind}", hint="choose another name or place")
            Table(folder).create()
            write_description(folder, description)  # last: it makes the folder a library
        except OSError as error:
            raise ClipError(
                f"{folder}: the library cannot be made there: {error.strerror}", hint="choose another place"
            ) from error
        return cls(folder)

    def describe(self, description: Description) -> None:
        """Replace what the library says of itself.

        Raises:
            ClipError: It cannot be written.
        """
        try:
            write_description(self.folder, description)
        except OSError as error:
            raise self._unwritable(error) from error
        self.description = description

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Read the library as it is now; writers wait until the end of the block.

        Raises:
            ClipError: It cannot be read.
        """
        with self._table.reading() as db:
            state = table.read_state(db)
            path = self._matrix_path(state.generation)
            rows = min(state.slots, matrix.stored_rows(path, self.description.dimensions))
            try:
                features = self._mapped(path, rows)
            except OSError as error:
                raise ClipError(f"{path} cannot be read: {error.strerror}", hint="check its permissions") from error
            dead = [slot for slot in table.dead_slots(db) if slot < rows]
            live = np.ones(rows, dtype=np.bool_) if dead else None
            if live is not None:
                live[dead] = False
            lost = 0
            if rows < state.slots:
                lost = db.execute("SELECT count(*) FROM image WHERE slot >= ?", (rows,)).fetchone()[0]
            yield Snapshot(db, features, live, state.updated, lost, state.generation)

    def _mapped(self, path: Path, rows: int) -> Floats:
        """The matrix; mapped once for as long as it stays the same, because touching its pages anew takes time.

        Raises:
            OSError: It cannot be read.
        """
        key = (path, rows, os.stat(path).st_ino if rows else 0)
        known = self._mapping
        if known is None or known[0] != key:
            self._mapping = known = key, matrix.mapped(path, rows, self.description.dimensions)
        return known[1]

    def add(self, images: Sequence[NewImage]) -> None:
        """Append images, all or none of them; those with a path that is there take its place.

        Raises:
            ClipError: They cannot be written.
        """
        usable = [image for image in images if image.features is not None]
        with self._changing() as db:
            state = table.read_state(db)
            if usable:
                features = np.stack([image.features for image in usable if image.features is not None])
                matrix.write_rows(self._matrix_path(state.generation), state.slots, features)
            slots = iter(range(state.slots, state.slots + len(usable)))
            rows = [
                image.row
                if image.features is None
                else image.row._replace(slot=next(slots), checksum=matrix.checksum(image.features))
                for image in images
            ]
            table.insert_rows(db, rows)
            db.execute("UPDATE state SET slots = ?", (state.slots + len(usable),))

    def move(self, moves: Sequence[tuple[int, str, bytes, str]]) -> None:
        """Give rows, by number, another path, stamp and time of modification."""
        with self._changing() as db:
            for number, path, stamp, modified in moves:
                table.move_row(db, number, path, stamp, modified)

    def remove(self, numbers: Sequence[int]) -> int:
        """Forget images by number; returns how many there were."""
        with self._changing() as db:
            return sum(table.bury(db, "id = ?", (number,)) for number in numbers)

    def images(self) -> list[ImageRow]:
        """Every image, those that could not be used included, by path."""
        with self._table.reading() as db:
            return list(table.all_rows(db))

    def finish_update(self) -> None:
        """Note that the library has just been compared with its folders, and compact it if that pays."""
        with self._changing() as db:
            db.execute("UPDATE state SET updated = ?", (int(time.time()),))
            dead = db.execute("SELECT count(*) FROM dead").fetchone()[0]
            slots = table.read_state(db).slots
        if dead >= _LEAST_DEAD and dead > _DEAD_SHARE * slots:
            with suppress(ClipError):  # no room for it: the library works as it is
                self.compact()

    def forget_lost(self) -> int:
        """Forget images whose features are missing from a damaged matrix; the next update computes them again."""
        with self._changing() as db:
            state = table.read_state(db)
            rows = matrix.stored_rows(self._matrix_path(state.generation), self.description.dimensions)
            if rows >= state.slots:
                return 0
            lost = table.bury(db, "slot >= ?", (rows,))
            db.execute("DELETE FROM dead WHERE slot >= ?", (rows,))
            db.execute("UPDATE state SET slots = ?", (rows,))
            return lost

    def compact(self) -> int:
        """Take what is dead out of the matrix; returns the rows that it had.

        Raises:
            ClipError: There is no room for the new file beside the old one.
        """
        with self._changing() as db:
            state = table.read_state(db)
            old = self._matrix_path(state.generation)
            rows = db.execute("SELECT id, slot FROM image WHERE slot IS NOT NULL ORDER BY slot").fetchall()
            needed = len(rows) * self.description.dimensions * 4
            if shutil.disk_usage(self.folder).free < needed:
                raise ClipError(f"{self.folder}: compacting needs {needed:,} bytes of free space", hint="make room")
            stored = min(state.slots, matrix.stored_rows(old, self.description.dimensions))
            kept = [(number, slot) for number, slot in rows if slot < stored]
            source = matrix.mapped(old, stored, self.description.dimensions)
            slots = np.array([slot for _, slot in kept], dtype=np.intp)
            matrix.copy_rows(source, slots, self._matrix_path(state.generation + 1))
            table.bury(db, "slot >= ?", (stored,))
            # In ascending order: a number is free before it is given.
            db.executemany("UPDATE image SET slot = ? WHERE id = ?", [(i, kept[i][0]) for i in range(len(kept))])
            db.execute("DELETE FROM dead")
            for kind in ("look", "pixels"):
                db.execute(
                    f"DELETE FROM {kind} WHERE digest NOT IN (SELECT digest FROM image WHERE digest IS NOT NULL)"
                )
            db.execute("UPDATE state SET generation = generation + 1, slots = ?", (len(kept),))
        self._remove_older(state.generation + 1)
        return state.slots - len(kept)

    def counts(self) -> Counts:
        """Count what the library holds."""
        with self._table.reading() as db:
            images, failed, dead, looks = db.execute(_COUNTS).fetchone()
            updated = table.read_state(db).updated
        size = sum(file.stat().st_size for file in self.folder.iterdir() if file.is_file())
        return Counts(images, failed, dead, looks, size, updated)

    def check(self) -> tuple[list[int], int]:
        """Compare features with their checksums; returns the numbers of images that differ, and how many there are."""
        with self.snapshot() as snapshot:
            images = [image for image in table.all_rows(snapshot.db) if image.slot is not None]
            wrong = [
                image.id
                for image in images
                if image.slot is not None
                and (
                    image.slot >= len(snapshot.matrix) or matrix.checksum(snapshot.matrix[image.slot]) != image.checksum
                )
            ]
        return wrong, len(images)

    def remembered(self, kind: Kind, digests: Sequence[bytes]) -> dict[bytes, bytes | None]:
        """What is known of the looks or pixels of some contents; None where they could not be decoded."""
        with self._table.reading() as db:
            return table.remembered(db, kind, digests)

    def remember(self, kind: Kind, entries: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Keep what has been found out of contents; a library that cannot be written to goes without."""
        with suppress(ClipError), self._changing() as db:
            table.remember(db, kind, entries)

    def approximate(self, snapshot: Snapshot) -> Approximate:
        """The approximate index; opened once for as long as it stays the same.

        Raises:
            NoIndex: There is none, or it does not fit the library.
            UsageError: usearch is not installed.
        """
        key = (snapshot.generation, approximate.stamp(self.folder))
        known = self._approximate
        if known is None or known[0] != key:
            self._approximate = known = key, Approximate(self.folder, snapshot)
        known[1].require_cover(len(snapshot.matrix))
        return known[1]

    def build_approximate(self, texts: Floats, on_progress: Progress) -> Facts:
        """Build the approximate index, or build it again; the library can be used and updated meanwhile.

        Shapes: texts (T, D), to measure the index with.

        Raises:
            ClipError: It cannot be written, or the library was compacted meanwhile.
            UsageError: usearch is not installed.
        """
        with self.snapshot() as snapshot:
            generation, features, live = snapshot.generation, snapshot.matrix, snapshot.live_slots
        graph, facts = approximate.build(self.folder, generation, features, live, texts, on_progress)
        try:
            with self._changing() as db:
                if table.read_state(db).generation != generation:
                    raise ClipError(f"{self.folder}: the library was compacted meanwhile", hint="build the index again")
                approximate.publish(self.folder, graph, facts)
        finally:
            graph.unlink(missing_ok=True)
        return facts

    def index_problem(self) -> ClipError | None:
        """What is wrong with the approximate index, its whole file compared with what was written; None if nothing."""
        try:
            approximate.check_graph(self.folder)
            with self.snapshot() as snapshot:
                self.approximate(snapshot)
        except approximate.AbsentIndex:
            return None
        except (approximate.NoIndex, UsageError) as error:
            return error
        return None

    def remove_approximate(self) -> bool:
        """Delete the approximate index; returns whether there was one.

        Raises:
            ClipError: It cannot be deleted.
        """
        try:
            return approximate.remove(self.folder)
        except OSError as error:
            raise self._unwritable(error) from error

    def delete(self) -> None:
        """Delete the library, and nothing else that lies in its folder.

        Raises:
            ClipError: A file cannot be deleted.
        """
        try:
            (self.folder / FILE_NAME).unlink()
            for pattern in (f"{table.FILE_NAME}*", "vectors-*.f32", *approximate.PATTERNS):
                for file in self.folder.glob(pattern):
                    file.unlink()
            with suppress(OSError):  # something of the user's lies in it
                self.folder.rmdir()
        except OSError as error:
            raise self._unwritable(error) from error

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._table.writing() as db:
                yield db
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> ClipError:
        return ClipError(
            f"the library {self.folder} cannot be written to: {error.strerror or error}",
            hint="what was written before is safe; check its permissions and the space on its disk",
        )

    def _matrix_path(self, generation: int) -> Path:
        return self.folder / f"vectors-{generation}.f32"

    def _remove_older(self, generation: int) -> None:
        for file in self.folder.glob("vectors-*.f32"):
            number = file.stem.removeprefix("vectors-")
            if number.isdecimal() and int(number) < generation:
                with suppress(OSError):  # Windows keeps files that somebody reads
                    file.unlink()
