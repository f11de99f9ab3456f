"""``loopline doctor``: what works here, and how to mend what does not."""

import argparse
import json
from pathlib import Path

_DESCRIPTION = """\
Check this laptop, workbench or cluster, and say line by line what works and how to mend what does not. What is not set
is no problem: its line says what it is needed for. No secret is shown; what is written to try a right is deleted."""

_EPILOG = """\
examples:
  loopline doctor                              everything that is set up here
  loopline doctor mlflow s3 --s3 s3://traffic/flights
                                               two areas, and whether a place may be read and written
  loopline doctor registry --registry docker://registry.example.com/models/flights
                                               whether model images may be pushed there
  loopline doctor kfp --openshift-ai 3.4       whether that version can run the compiled pipelines
  loopline doctor permissions --namespace ml   what the pipelines' steps may do there, and what is missing

exit status: 0 no problem, 1 at least one problem, 2 something given cannot be used."""

#: Seconds that --timeout may give.
_LONGEST_S = 3600


def add_options(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Add the options of ``doctor``."""
    from loopline.pipelines.doctor.checkup import AREAS

    parser.description = f"{_DESCRIPTION}\n\nareas:\n" + "\n".join(f"  {n:<13} {text}" for n, text in AREAS.items())
    parser.epilog, parser.formatter_class = _EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument("areas", metavar="AREA", nargs="*", help="look at these only (default: all)")
    parser.add_argument("--registry", default="", metavar="docker://HOST/NAME", help="where model images are pushed")
    parser.add_argument("--s3", default="", metavar="s3://BUCKET/PREFIX", help="a place to read and write")
    parser.add_argument("--repository", default="", metavar="URL_OR_PATH", help="the configuration repository")
    parser.add_argument("--branch", default="main", help="its branch (default: main)")
    parser.add_argument("--host", default="", metavar="URL", help="the pipeline server (default: as a step finds it)")
    parser.add_argument("--namespace", default="", help="the pipelines' namespace (default: this one)")
    parser.add_argument(
        "--service-account", default="pipeline-runner-dspa", metavar="NAME",
        help="the account of the steps (default: pipeline-runner-dspa)",
    )  # fmt: skip
    parser.add_argument("--openshift-ai", default="", metavar="VERSION", help="3.3, 3.4 or 3.5, where nothing tells it")
    parser.add_argument("--compiled", metavar="FOLDER", help="compiled pipelines (default: those of Loopline)")
    parser.add_argument("--read-only", action="store_true", help="leave out everything that writes")
    parser.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS", help="for everything (default: 30)")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(command=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    import logging
    import warnings
    from importlib.metadata import version

    from loopline.pipelines.doctor.checkup import AREAS, examine
    from loopline.pipelines.doctor.findings import PROBLEM
    from loopline.pipelines.doctor.report import Report, as_json
    from loopline.pipelines.doctor.settings import Settings

    _refuse(options)
    # What libraries tell of a server that is away, the findings tell better.
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    settings = Settings(
        registry=options.registry, s3=options.s3, repository=options.repository, branch=options.branch,
        host=options.host, service_account=options.service_account, namespace=options.namespace,
        openshift_ai=options.openshift_ai, read_only=options.read_only,
    )  # fmt: skip
    if options.compiled:
        settings.compiled = Path(options.compiled)
    names = [name for name in AREAS if name in options.areas] or list(AREAS)
    areas, report = [], Report()
    if not options.json:
        report.begin(settings.place, version("loopline"))
    for area in examine(names, settings, options.timeout):
        areas.append(area)
        if not options.json:
            report.area(area)
    if options.json:
        print(json.dumps(as_json(settings.place, version("loopline"), areas), indent=2))
    else:
        report.end()
    return int(any(finding.state == PROBLEM for area in areas for finding in area.findings))


def _refuse(options: argparse.Namespace) -> None:
    """Refuse what cannot be used, before anything is looked at."""
    from loopline.components.errors import InputError
    from loopline.components.pipeline_connection import check_is_https
    from loopline.pipelines.doctor.checkup import AREAS
    from loopline.pipelines.doctor.features import PLATFORMS
    from loopline.pipelines.doctor.registry import read_reference
    from loopline.pipelines.doctor.s3 import read_bucket

    if unknown := [name for name in options.areas if name not in AREAS]:
        raise InputError(f"There is no area {unknown[0]!r}: choose of {', '.join(AREAS)}.")
    if options.openshift_ai and options.openshift_ai not in PLATFORMS:
        raise InputError(f"OpenShift AI {options.openshift_ai!r} is not known: write one of {', '.join(PLATFORMS)}.")
    if not 0 < options.timeout <= _LONGEST_S:
        raise InputError(f"--timeout is {options.timeout:g} and must be more than 0 and at most {_LONGEST_S} seconds.")
    for given, read in ((options.s3, read_bucket), (options.registry, read_reference), (options.host, check_is_https)):
        if given:
            read(given)
