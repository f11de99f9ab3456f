"""``loopline init``: a project for a table of one's own."""

import argparse
import sys

_DESCRIPTION = """\
Look at a table and write a project for it: what a run needs, each value with the reason for it.

  FOLDER/params.yaml      parameters of the training pipeline, with a draft of what the data must look like
  FOLDER/monitoring.yaml  parameters of the monitoring pipeline
  FOLDER/explore.ipynb    the data, the target, a first model and its report

The table is CSV (any delimiter, compressed or not) or Parquet. Nothing is trained or registered, and nothing is
written when the table cannot be used. A folder that holds files is never touched."""

_EPILOG = """\
examples:
  loopline init churn --data customers.csv --target churned
  loopline run training -f churn/params.yaml

  loopline init prices --data 's3://bucket/sales/*.parquet' --target price --name house-prices

exit status: 0 written, 2 something given cannot be used."""


def add_options(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Add the options of ``init``."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", metavar="FOLDER", help="the folder to make")
    parser.add_argument(
        "--data", required=True, metavar="FILE", help="a path, folder or glob, s3://bucket/key or https:// address"
    )
    parser.add_argument("--target", default="", metavar="COLUMN", help="the column to predict")
    parser.add_argument("--name", default="", help="the model's name (default: the folder's)")
    parser.add_argument(
        "--csv", default="{}", metavar="JSON", help='how a CSV is written where it does not tell: {"encoding": "gbk"}'
    )
    parser.set_defaults(command=_init)


def _init(options: argparse.Namespace) -> int:
    if sys.stderr.isatty():
        print("Looking at the data ...", file=sys.stderr)
    from loopline.pipelines.project.create import create_project

    print(create_project(options.folder, options.data, options.target, options.name, options.csv))
    return 0
