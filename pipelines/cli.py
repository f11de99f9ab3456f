"""The command line: run pipelines on this machine, compile them, see the demo."""

import argparse
import logging
import sys
from pathlib import Path

from loopline.components.errors import InputError
from loopline.pipelines.progress import Progress, StepFailed, shown_path
from loopline.pipelines.sites.commands import add_commands as add_sites
from loopline.pipelines.spec import TYPES, Parameter, PipelineFile, compiled_names

_DESCRIPTION = """\
Loopline: the whole life of a tabular model, as Kubeflow Pipelines.

Train, judge, register, package, test and deliver models with the same compiled
pipelines on this machine and on Data Science Pipelines of Red Hat OpenShift AI."""

_EPILOG = """\
examples:
  loopline demo
      train on real flights, deliver to three sites, replay seven months; --fast for two
  loopline run training --help
      what the training pipeline does and every parameter it takes
  loopline run training --uri data.csv --target churned --name churn
      train on your own table
  loopline run training --from-file flights.yaml --param uri='flights/*.csv.gz'
      parameters from a file, one of them given here
  loopline run delivery --name churn
      the champion into a tested image and to the sites, wave by wave
  loopline run monitoring --from-file monitoring.yaml --param hours=24
      what the sites saw in the last day; retrains and redelivers when needed
  loopline sites up
      serve on this machine what the configuration repository says
  loopline compile --image registry.example.com/ml/loopline-step@sha256:...
      write the YAML for a cluster

environment:
  LOOPLINE_HOME         where runs and the embedded model store live (default: ./.loopline)
  LOOPLINE_IMAGE        the step image to compile for
  MLFLOW_TRACKING_URI   an MLflow server instead of the embedded store; MLflow's other variables hold too
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_S3_ENDPOINT, AWS_DEFAULT_REGION
                        for data on s3://
  COSIGN_PRIVATE_KEY, COSIGN_PASSWORD, COSIGN_PUBLIC_KEY
                        key pair for model images, as PEM or a path (default: made under LOOPLINE_HOME)
  REGISTRY_AUTH_FILE, DOCKER_CONFIG
                        credentials of container registries
  GIT_USERNAME, GIT_PASSWORD
                        for a configuration repository on https://

exit status: 0 done, 1 a step failed, 2 something given cannot be used, 130 interrupted."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The words after ``loopline``; those of this process when None.

    Returns:
        The exit status: 0 done, 1 a step failed, 2 something given cannot be used, 130 interrupted.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    words = sys.argv[1:] if arguments is None else arguments
    options = _parser(words).parse_args(words)
    try:
        return options.command(options)
    except InputError as error:
        print(f"loopline: {error}", file=sys.stderr)
        return 2
    except StepFailed as failure:
        return _report_failure(failure)
    except KeyboardInterrupt:
        print("loopline: interrupted; what finished so far stays in the run's folder.", file=sys.stderr)
        return 130


def _report_failure(failure: StepFailed) -> int:
    if failure.traceback:
        print(f"\n{failure.traceback}", file=sys.stderr)
    print(f"\nloopline: step {failure.step} failed: {failure.message}", file=sys.stderr)
    return 2 if failure.refused else 1


def _parser(words: list[str]) -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("loopline", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=raw)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_run(commands, words)
    compile_ = commands.add_parser(
        "compile",
        help="write the pipelines as YAML for a cluster",
        description="Compile every pipeline to YAML, as Data Science Pipelines takes it.",
    )
    compile_.add_argument("--image", default="", help="the image of every step, by digest: name@sha256:...")
    compile_.add_argument("--output", default="compiled", metavar="FOLDER", help="where to write (default: compiled)")
    compile_.set_defaults(command=_compile)
    demo = commands.add_parser(
        "demo",
        help="train on real flights, deliver to three sites, replay seven months and watch the loop close",
        description="Train on the New York flights of January to May 2013, register the model in MLflow, build and "
        "test its image and deliver it to three sites on this machine. Then replay June to December through the sites: "
        "after each month monitoring decides whether to retrain and redeliver, beside a control that is never "
        "retrained.",
    )
    demo.add_argument("--fast", action="store_true", help="replay a part of two months alone")
    demo.set_defaults(command=_demo)
    add_sites(commands)
    return parser


def _add_run(commands, words: list[str]) -> None:
    """Add the run command; its options follow from the pipeline named on the command line."""
    run = commands.add_parser(
        "run",
        help="run a pipeline on this machine",
        description="Run a compiled pipeline on this machine, step by step as on a cluster.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ", ".join(compiled_names())
    run.add_argument("pipeline", metavar="PIPELINE", help=f"one of {names}, or the path of a compiled YAML")
    run.add_argument("--from-file", metavar="FILE", help="a YAML file of parameters")
    run.add_argument(
        "--param", action="append", default=[], metavar="NAME=VALUE", help="one parameter; may be repeated"
    )
    run.set_defaults(command=_run)
    try:
        source = PipelineFile.find(words[1]) if words[:1] == ["run"] and len(words) > 1 else None
    except InputError:
        source = None  # said in full when the command runs
    if source:
        run.description = source.description
        group = run.add_argument_group(f"parameters of {source.name}")
        for parameter in source.parameters:
            _add_parameter(group, parameter)


def _add_parameter(group, parameter: Parameter) -> None:
    flag = f"--{parameter.name.replace('_', '-')}"
    if flag in ("--help", "--from-file", "--param"):
        return  # can still be given with --param
    state = "required" if parameter.required else f"default: {parameter.default!r}"
    text = f"{parameter.description} ({TYPES.get(parameter.type, parameter.type)}; {state})".replace("%", "%%")
    group.add_argument(flag, dest=f"p_{parameter.name}", metavar="VALUE", help=text)


def _run(options: argparse.Namespace) -> int:
    from loopline.pipelines.engine import run_pipeline

    values = _read_params(options.from_file) if options.from_file else {}
    for entry in options.param:
        name, sign, value = entry.partition("=")
        if not sign or not name:
            raise InputError(f"--param {entry!r} has no value: write --param name=value.")
        values[name] = value
    values |= {
        name.removeprefix("p_"): value
        for name, value in vars(options).items()
        if name.startswith("p_") and value is not None
    }
    progress = Progress.terminal()
    try:
        run = run_pipeline(options.pipeline, values, progress)
    finally:
        progress.close()
    print(f"\nDone. Everything this run wrote is in {shown_path(run.folder)}")
    for name, value in run.outputs.items():
        if not hasattr(value, "path"):
            print(f"  {name}: {value}")
        elif value.schema_title != "system.HTML":  # reports are listed below, where a browser opens them
            print(f"  {name}: {shown_path(Path(value.path))}")
    for report in run.reports:
        print(f"  report: {shown_path(report)}")
    return 0


def _read_params(file: str) -> dict:
    import yaml

    try:
        values = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"Parameter file {file!r} cannot be read ({' '.join(str(error).split())}).") from None
    if not isinstance(values, dict):
        raise InputError(f"Parameter file {file!r} must hold lines of `name: value`.")
    return values


def _compile(options: argparse.Namespace) -> int:
    from loopline.pipelines.compile import write_compiled

    for file in write_compiled(options.output, options.image):
        print(file)
    return 0


def _demo(options: argparse.Namespace) -> int:
    from loopline.pipelines.demo import run_demo

    progress = Progress.terminal()
    try:
        summary = run_demo(progress, options.fast)
    finally:
        progress.close()
    print(summary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
