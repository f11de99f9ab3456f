from dataclasses import replace

import pytest

from loopline.components.data.schema import Column, Schema
from loopline.components.delivery.golden import read_golden, replay
from loopline.components.delivery.inference import load_features, predict_grpc
from loopline.components.delivery.metadata import check_identity, check_metadata
from loopline.components.model.directory import read_manifest

IMAGE = "sha256:" + "1" * 64


def test_a_server_describes_its_model(served, small_model):
    assert check_metadata(served.url, served.grpc, read_manifest(small_model), load_features(small_model)) == []


def test_each_difference_is_named_for_both_protocols(served, small_model):
    manifest, features = read_manifest(small_model), load_features(small_model)
    other = Schema((Column("size", "category"), Column("count", "number"), Column("weight", "number")))
    assert features.names == ["size", "count", "color"]
    problems = check_metadata(served.url, served.grpc, replace(manifest, classes=["a", "b", "c"]), other)
    assert sorted(problems) == sorted(
        f"{protocol} {problem}"
        for protocol in ("REST", "gRPC")
        for problem in (
            "has input 'size' as FP32 [-1, 1] instead of BYTES [-1, 1]",
            "has no input 'weight'",
            "has an input 'color' that the model lacks",
            "has output 'probabilities' as FP32 [-1, 2] instead of FP32 [-1, 3]",
        )
    )


def test_answers_name_model_and_image(served, small_model):
    golden, manifest = read_golden(small_model), read_manifest(small_model)
    for answer in (replay(golden, served.url).answer, replay(golden, served.grpc, predict_grpc).answer):
        assert check_identity(answer, manifest, 0, IMAGE) == []
        (problem,) = check_identity(answer, manifest, 0, "sha256:2")
        assert problem == f"answers name image_digest {IMAGE!r} instead of 'sha256:2'"


@pytest.mark.parametrize(
    ("found", "named"),
    [({"model": "other"}, "model_name"), ({"version": "4"}, "model_version"), ({"parameters": {}}, "model_digest")],
)
def test_another_model_is_noticed(served, small_model, found, named):
    answer, manifest = replay(read_golden(small_model), served.url).answer, read_manifest(small_model)
    right = replace(answer, version="3")
    assert check_identity(right, manifest, 3, IMAGE) == []
    assert named in check_identity(replace(right, **found), manifest, 3, IMAGE)[0]
