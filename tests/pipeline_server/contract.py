"""The OpenAPI description of KFP's API, read from the client that is generated from it, ``kfp-server-api``."""

import importlib
import inspect
import pkgutil
import re
from dataclasses import dataclass
from datetime import datetime

import kfp_server_api.api
from kfp_server_api import models


class ContractError(ValueError):
    """A request or an answer that the description does not know."""


@dataclass(frozen=True)
class Operation:
    """What one method of the API takes and gives.

    Attributes:
        method: GET, POST, ...
        template: Its path, with the names of its parts in braces.
        query: The types of its query parameters by name.
        body: The type of its body; empty when there is none.
        files: The names of the files that it takes.
        answer: The type of its answer.
    """

    method: str
    template: str
    query: dict[str, str]
    body: str
    files: tuple[str, ...]
    answer: str

    def parts(self, path: str) -> dict[str, str] | None:
        """Return the values in a path by name; None when it is another path."""
        # A colon ends a part: /runs/{run_id}:terminate.
        pattern = re.sub(r"\\\{([\w.]+?)\\\}", r"([^/:]+)", re.escape(self.template))
        found = re.fullmatch(pattern, path)
        return dict(zip(re.findall(r"\{([\w.]+)\}", self.template), found.groups(), strict=True)) if found else None


def read_operations() -> list[Operation]:
    """Read every operation; those with the fewest variable parts first, as a server prefers them."""
    found = []
    for module in pkgutil.iter_modules(kfp_server_api.api.__path__):
        for _, service in inspect.getmembers(importlib.import_module(f"kfp_server_api.api.{module.name}")):
            if inspect.isclass(service) and service.__name__.endswith("Api"):
                found += [_read(method) for name, method in vars(service).items() if name.endswith("_with_http_info")]
    assert len(found) > 30, "kfp-server-api is generated in another way now"
    return sorted(found, key=lambda operation: operation.template.count("{"))


def _read(method) -> Operation:
    source = inspect.getsource(method)
    template, verb = re.search(r"call_api\(\s*'([^']+)', '(\w+)'", source).groups()
    types = dict(re.findall(r":type (\w+): (.+)", source))
    queries = re.findall(r"query_params\.append\(\('([^']+)', local_var_params\['([^']+)'\]\)\)", source)
    body = re.search(r"body_params = local_var_params\['([^']+)'\]", source)
    answer = re.search(r"response_type='([^']+)'", source)
    return Operation(
        verb,
        template,
        {name: types[variable] for name, variable in queries},
        types[body[1]] if body else "",
        tuple(re.findall(r"local_var_files\['([^']+)'\] =", source)),
        answer[1] if answer else "object",
    )


OPERATIONS = read_operations()


def find_operation(method: str, path: str) -> tuple[Operation, dict[str, str]]:
    """Return the operation of a path, and the values in the path.

    Raises:
        ContractError: There is none.
    """
    for operation in OPERATIONS:
        if operation.method == method and (parts := operation.parts(path)) is not None:
            return operation, parts
    raise ContractError(f"the API has no {method} {path}")


def check_request(operation: Operation, query: dict[str, list[str]], body: object, files: dict) -> None:
    """Refuse a request that the description does not know.

    Args:
        operation: What is asked.
        query: The query's values by name.
        body: The parsed body; None when there is none.
        files: The files by name.

    Raises:
        ContractError: It has an unknown name, or a value of another type.
    """
    where = f"{operation.method} {operation.template}"
    for name, values in query.items():
        if name not in operation.query:
            raise ContractError(f"{where} has no query parameter {name!r} but {sorted(operation.query)}")
        if len(values) != 1:
            raise ContractError(f"{where}: {name} is given {len(values)} times")
        _check_text(values[0], operation.query[name], f"{where}: {name}")
    if set(files) != set(operation.files):
        raise ContractError(f"{where} takes the files {operation.files}, not {sorted(files)}")
    if body is not None and not operation.body:
        raise ContractError(f"{where} takes no body")
    if operation.body:
        check_value(body, operation.body, where)


def check_value(value: object, kind: str, where: str) -> None:
    """Refuse a JSON value that is not of a type.

    Args:
        value: The value.
        kind: The type as the generated client writes it, e.g. ``list[V2beta1Run]``.
        where: What to say in the message.

    Raises:
        ContractError: It is not, or has fields that the type does not have.
    """
    if kind == "object":
        return
    if found := re.fullmatch(r"list\[(.+)\]", kind):
        _expect(isinstance(value, list), value, kind, where)
        for entry in value:
            check_value(entry, found[1], where)
    elif found := re.fullmatch(r"dict\(str, (.+)\)", kind):
        _expect(isinstance(value, dict), value, kind, where)
        for name, entry in value.items():
            check_value(entry, found[1], f"{where}.{name}")
    elif kind in _PLAIN:
        _expect(isinstance(value, _PLAIN[kind]) and (kind == "bool" or not isinstance(value, bool)), value, kind, where)
    elif kind == "datetime":
        _expect(isinstance(value, str), value, kind, where)
        datetime.fromisoformat(value)
    else:
        _check_model(value, getattr(models, kind), where)


#: Fields of 64 bits are text in JSON, which the description says; the server takes numbers, too, as KFP's client sends.
_INT64 = {"max_concurrency", "interval_second"}
_PLAIN = {"str": (str,), "int": (int,), "bool": (bool,), "float": (int, float)}


def _check_model(value: object, kind: type, where: str) -> None:
    if not kind.openapi_types:  # an enumeration
        return _expect(value in getattr(kind, "allowable_values", ()), value, kind.__name__, where)
    _expect(isinstance(value, dict), value, kind.__name__, where)
    types = {name: kind.openapi_types[attribute] for attribute, name in kind.attribute_map.items()}
    for name, entry in value.items():
        if name not in types:
            raise ContractError(f"{where}: {kind.__name__} has no field {name!r}")
        if name in _INT64:
            _expect(str(entry).isdigit(), entry, "int64", f"{where}.{name}")
        else:
            check_value(entry, types[name], f"{where}.{name}")
    return None


def _check_text(text: str, kind: str, where: str) -> None:
    """Check the value of a query parameter, which is text whatever its type."""
    fits = {"int": text.lstrip("-").isdigit(), "bool": text in ("true", "false")}.get(kind, True)
    _expect(fits, text, kind, where)


def _expect(fits: bool, value: object, kind: str, where: str) -> None:
    if not fits:
        raise ContractError(f"{where}: {value!r} is no {kind}")
