"""The command line: run pipelines on this machine and on a cluster, compile them, see the demo."""

import argparse
import importlib
import logging
import sys

from loopline.components.errors import InputError, explain
from loopline.pipelines.progress import StepFailed

#: Every command and what it does; its module is of the same name under loopline.pipelines.commands.
COMMANDS = {
    "init": "look at a table and write a project for it",
    "run": "run a pipeline on this machine",
    "submit": "run a pipeline on Data Science Pipelines and follow it",
    "follow": "follow a run that goes on there",
    "schedule": "run a pipeline there again and again",
    "schedules": "look at what runs there again and again, pause and delete it",
    "compile": "write the pipelines as YAML for a cluster",
    "elyra": "draw pipelines in JupyterLab's visual editor",
    "sites": "serve models on this machine",
    "approve": "approve a model image for the sites",
    "verify": "check what vouches for a model image, and show it",
    "doctor": "say what works here, and how to mend what does not",
    "demo": "train on real flights, deliver to three sites, replay seven months and watch the loop close",
}

_DESCRIPTION = """\
Loopline: the whole life of a tabular model, as Kubeflow Pipelines.

Train, judge, register, package, test and deliver models with the same compiled
pipelines on this machine and on Data Science Pipelines of Red Hat OpenShift AI."""

_EPILOG = """\
examples:
  loopline demo
      train on real flights, deliver to three sites, replay seven months; --fast for two
  loopline init churn --data customers.csv --target churned
      look at your own table and write what a run needs: loopline run training -f churn/params.yaml
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
  loopline approve oci://registry.example.com/models/churn@sha256:... --reason "model board 12"
      what `loopline run delivery --require-approval true` waits for
  loopline submit training --uri s3://bucket/data.parquet --target churned --name churn
      the same on Data Science Pipelines, followed from here; in a workbench nothing else is needed
  loopline schedule training --cron "0 0 2 * * *" --from-file flights.yaml
      every day at 02:00
  loopline compile --image registry.example.com/ml/loopline-step@sha256:...
      write the YAML for a cluster
  loopline compile --kubernetes --image registry.example.com/ml/loopline-step@sha256:...
      write the resources that Argo CD brings to a cluster
  loopline doctor
      what works on this laptop, workbench or cluster, and how to mend what does not
  loopline elyra install
      the components as nodes of JupyterLab's visual pipeline editor

environment:
  LOOPLINE_HOME         where runs and the embedded model store live (default: ./.loopline)
  LOOPLINE_IMAGE        the step image to compile for
  LOOPLINE_MEMORY_LIMIT
                        memory that a step here may use, e.g. 4Gi (default: what the machine has free)
  LOOPLINE_FRESH_STEPS  1 starts each step of a run here by itself, not from a process that has loaded the libraries
  MLFLOW_TRACKING_URI   an MLflow server instead of the embedded store; MLflow's other variables hold too
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_S3_ENDPOINT, AWS_DEFAULT_REGION
                        for data on s3://
  COSIGN_PRIVATE_KEY, COSIGN_PASSWORD, COSIGN_PUBLIC_KEY
                        key pair for model images, as PEM or a path (default: made under LOOPLINE_HOME)
  LOOPLINE_APPROVERS_KEYS
                        public keys of those whose approval counts, as PEM or a path (default: keys/approvers.pub in
                        LOOPLINE_HOME); LOOPLINE_REQUIRE_APPROVAL=true asks for one whatever a run says
  LOOPLINE_APPROVER_KEY
                        an approver's private key, as PEM or a path, for `loopline approve`
  LOOPLINE_ALLOW_HOSTS  hosts, addresses and networks, comma-separated, that may be connected to from a pod although
                        they are link-local, a metadata service or the pod's own
  REGISTRY_AUTH_FILE, DOCKER_CONFIG
                        credentials of container registries
  KF_PIPELINES_ENDPOINT, KF_PIPELINES_SA_TOKEN_PATH, KF_PIPELINES_SSL_SA_CERTS
                        pipeline server, file of a token and certificate authority (default: found)
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
    try:
        options = _parser(words).parse_args(words)
        return options.command(options)
    except StepFailed as failure:
        return _report_failure(failure)
    except (InputError, OSError) as error:
        said = explain(error)
        if said is None:
            raise
        print(f"loopline: {said}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("loopline: interrupted; what finished so far stays in the run's folder.", file=sys.stderr)
        return 130


def _report_failure(failure: StepFailed) -> int:
    if failure.traceback:
        print(f"\n{failure.traceback}", file=sys.stderr)
    print(f"\nloopline: step {failure.step} failed: {failure.message}", file=sys.stderr)
    return 2 if failure.refused else 1


def _parser(words: list[str]) -> argparse.ArgumentParser:
    """Build the parser; of the commands only the one that is asked for is imported, so that help is quick."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("loopline", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=raw)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary)
        if words[:1] == [name]:
            importlib.import_module(f"loopline.pipelines.commands.{name}").add_options(command, words[1:])
    return parser


if __name__ == "__main__":
    sys.exit(main())
