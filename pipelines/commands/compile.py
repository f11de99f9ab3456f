"""``loopline compile``: the pipelines as files for a cluster."""

import argparse


def add_options(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Add the options of ``compile``."""
    parser.description = (
        "Compile every pipeline to YAML, as Data Science Pipelines takes it, and write the nodes of Elyra's palette to "
        "the folder elyra beside them."
    )
    parser.add_argument("--image", default="", help="the image of every step, by digest: name@sha256:...")
    parser.add_argument(
        "--output", metavar="FOLDER", help="where to write (default: compiled, with --kubernetes manifests)"
    )
    parser.add_argument(
        "--kubernetes",
        action="store_true",
        help="write Pipeline and PipelineVersion resources and a kustomization.yaml instead, for Argo CD",
    )
    parser.add_argument("--namespace", default="", help="with --kubernetes: the namespace of the resources")
    parser.set_defaults(command=_compile)


def _compile(options: argparse.Namespace) -> int:
    if options.kubernetes:
        return _write_manifests(options)
    from loopline.components.errors import InputError
    from loopline.pipelines.compile import write_compiled

    if options.namespace:
        raise InputError("--namespace is for resources: give --kubernetes as well.")
    for file in write_compiled(options.output or "compiled", options.image):
        print(file)
    return 0


def _write_manifests(options: argparse.Namespace) -> int:
    from loopline.pipelines.manifests import write_manifests

    versions = write_manifests(options.output or "manifests", options.image, options.namespace)
    for file, version in versions.items():
        print(f"{file}  {version}")
    return 0
