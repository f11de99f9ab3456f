"""The schema of a table: what each column holds, inferred at training and checked ever after."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from loopline.components.documents import make, read_json, reading, write_document
from loopline.components.errors import InputError

#: What a column can hold. ``category`` is any text; ``number`` is a float, ``integer`` and ``boolean`` may be null.
KINDS = ("integer", "number", "boolean", "category", "timestamp")


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: The column's name.
        kind: One of ``KINDS``.
        nullable: Whether values may be missing.
        minimum: The smallest value allowed (integer and number), None when open.
        maximum: The largest value allowed (integer and number), None when open.
        categories: The values allowed (category), sorted; None when open because there are too many.
    """

    name: str
    kind: str
    nullable: bool = True
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] | None = None

    def __post_init__(self):
        if self.kind not in KINDS:
            raise InputError(f"Column {self.name!r} has the unknown kind {self.kind!r}: use one of {', '.join(KINDS)}.")

    @property
    def feature_type(self) -> pa.DataType:
        """The Arrow type in which a model takes the column: text, booleans, or numbers in single precision."""
        return {"category": pa.string(), "boolean": pa.bool_()}.get(self.kind, pa.float32())


@dataclass(frozen=True)
class Schema:
    """The schema of a table.

    Attributes:
        columns: The columns, in order.
        target: The column to predict; empty when there is none.
        min_rows: The fewest rows a table may have.
        allow_duplicates: Whether a row may occur twice.
    """

    columns: tuple[Column, ...]
    target: str = ""
    min_rows: int = 1
    allow_duplicates: bool = True
    _by_name: dict = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        object.__setattr__(self, "_by_name", {column.name: column for column in self.columns})
        if len(self._by_name) < len(self.columns):
            raise InputError("A schema names a column twice: leave one of the two out.")

    def __getitem__(self, name: str) -> Column:
        """Return a column by name; raises InputError when there is none."""
        if name not in self._by_name:
            raise InputError(f"Column {name!r} is not in the schema; it has {', '.join(map(repr, self.names))}.")
        return self._by_name[name]

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    @property
    def names(self) -> list[str]:
        """The columns' names, in order."""
        return [column.name for column in self.columns]

    def select(self, names: Sequence[str]) -> "Schema":
        """Return the schema of some of the columns, in the order of ``names``; the target is kept if among them."""
        target = self.target if self.target in names else ""
        return dataclasses.replace(self, columns=tuple(self[name] for name in names), target=target)

    def without(self, name: str) -> "Schema":
        """Return the schema of all columns but one: of a model's features, without its target."""
        return self.select([other for other in self.names if other != name])

    def to_dict(self) -> dict:
        """Return the schema as plain JSON values."""
        columns = []
        for column in self.columns:
            entry = {key: value for key, value in dataclasses.asdict(column).items() if value is not None}
            columns.append(entry)
        return {
            "columns": columns,
            "target": self.target,
            "min_rows": self.min_rows,
            "allow_duplicates": self.allow_duplicates,
        }

    @classmethod
    def from_dict(cls, values: dict) -> "Schema":
        """Make a schema from what ``to_dict`` gave.

        Raises:
            InputError: A field is missing or has the wrong form.
        """
        try:
            columns = []
            for entry in values["columns"]:
                entry = dict(entry)
                if entry.get("categories") is not None:
                    entry["categories"] = tuple(entry["categories"])
                columns.append(make(Column, **entry))
            rest = {key: values[key] for key in ("target", "min_rows", "allow_duplicates") if key in values}
            return make(cls, columns=tuple(columns), **rest)
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"This is not a schema that validate_data wrote ({error}): infer it anew.") from None

    def save(self, path: str | Path) -> None:
        """Write the schema as JSON."""
        write_document(path, self.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> "Schema":
        """Read a schema that ``save`` wrote.

        Raises:
            InputError: There is no such file, or it is not a schema.
        """
        if not Path(path).exists():
            raise InputError(f"There is no schema at {path}: run validate_data first.")
        with reading(path, "a schema", "infer it anew with validate_data"):
            return cls.from_dict(read_json(path))


def kind_of(type_: pa.DataType) -> str:
    """Return the kind of column that an Arrow type holds.

    Args:
        type_: The Arrow type of a column.

    Returns:
        One of ``KINDS``.

    Raises:
        InputError: Lists, structs and binary have no kind.
    """
    if pa.types.is_dictionary(type_):
        return kind_of(type_.value_type)
    if pa.types.is_boolean(type_):
        return "boolean"
    if pa.types.is_integer(type_):
        return "integer"
    if pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return "number"
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_null(type_):
        return "category"
    if pa.types.is_timestamp(type_) or pa.types.is_date(type_):
        return "timestamp"
    raise InputError(f"A column of type {type_} cannot be used: turn it into numbers, text, booleans or timestamps.")
