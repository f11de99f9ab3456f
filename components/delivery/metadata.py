"""What a model server says of its model, held against the model itself."""

from urllib.parse import quote

from loopline.components.data.schema import Schema
from loopline.components.delivery.inference import Answer, call_grpc, call_rest
from loopline.components.model.directory import Manifest


def check_metadata(url: str, grpc: str, manifest: Manifest, features: Schema) -> list[str]:
    """Ask a server for the metadata of its model, over REST and gRPC.

    Args:
        url: Where the server answers REST.
        grpc: Where it answers gRPC.
        manifest: The model's manifest.
        features: The schema of what the model takes.

    Returns:
        What is wrong, one clause a finding; empty when the metadata are those of the model.

    Raises:
        InputError: The server does not answer, or with an error.
    """
    from mlserver.grpc import dataplane_pb2 as pb

    found = call_rest(url, f"/v2/models/{quote(manifest.name, safe='')}")
    problems = _compare("REST", found, manifest, features)
    message = call_grpc(grpc, "ModelMetadata", pb.ModelMetadataRequest(name=manifest.name))
    found = {
        "name": message.name,
        "versions": list(message.versions),
        "inputs": [_tensor(tensor) for tensor in message.inputs],
        "outputs": [_tensor(tensor) for tensor in message.outputs],
    }
    return problems + _compare("gRPC", found, manifest, features)


def check_identity(answer: Answer, manifest: Manifest, version: int, image_digest: str) -> list[str]:
    """Check that an answer names the model and the image it comes from.

    Args:
        answer: The server's answer to an inference request.
        manifest: The model's manifest.
        version: The model's registered version; 0 when it is not registered.
        image_digest: The image's digest.

    Returns:
        What is wrong, one clause a finding.
    """
    wanted = [
        ("model_name", answer.model, manifest.name),
        ("model_digest", answer.parameters.get("model_digest"), manifest.digest),
        ("image_digest", answer.parameters.get("image_digest"), image_digest),
    ]
    if version:
        wanted.append(("model_version", answer.version, str(version)))
    return [f"answers name {name} {found!r} instead of {right!r}" for name, found, right in wanted if found != right]


def _compare(protocol: str, found: dict, manifest: Manifest, features: Schema) -> list[str]:
    problems = []
    if found.get("name") != manifest.name:
        problems.append(f"{protocol} names the model {found.get('name')!r} instead of {manifest.name!r}")
    inputs = {column.name: ("BYTES" if column.kind == "category" else "FP32", [-1, 1]) for column in features.columns}
    problems += _compare_tensors(protocol, "input", found.get("inputs"), inputs)
    outputs = {"prediction": ("FP32", [-1, 1])}
    if manifest.is_classification:
        outputs = {"label": ("INT64", [-1]), "probabilities": ("FP32", [-1, len(manifest.classes)])}
    return problems + _compare_tensors(protocol, "output", found.get("outputs"), outputs)


def _compare_tensors(protocol: str, what: str, found: list | None, right: dict[str, tuple]) -> list[str]:
    tensors = {one.get("name"): (one.get("datatype"), list(one.get("shape") or [])) for one in found or []}
    problems = [f"{protocol} has no {what} {name!r}" for name in right if name not in tensors]
    problems += [f"{protocol} has an {what} {name!r} that the model lacks" for name in tensors if name not in right]
    for name in right.keys() & tensors.keys():
        if tensors[name] != right[name]:
            problems.append(f"{protocol} has {what} {name!r} as {_show(tensors[name])} instead of {_show(right[name])}")
    return problems


def _show(tensor: tuple) -> str:
    return f"{tensor[0]} {tensor[1]}"


def _tensor(tensor) -> dict:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
